"""Charts as SVG, drawn by hand: no library is worth a few rectangles and lines."""
from xml.sax.saxutils import escape

OURS, OTHERS = "#c2410c", "#94a3b8"
PALETTE = ["#c2410c", "#f59e0b", "#0f172a", "#64748b", "#2563eb", "#0d9488", "#7c3aed", "#be185d", "#65a30d", "#a16207"]


def frame(width, height, title, body):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
            f'font-size="13">\n<rect width="100%" height="100%" fill="white"/>\n'
            f'<text x="10" y="22" font-size="15">{escape(title)}</text>\n{body}</svg>\n')


def bars(title, unit, rows):
    """One bar for each name and value, shortest first."""
    rows = sorted(rows, key=lambda row: row[1])
    most = max(value for _, value in rows) or 1
    body = ""
    for index, (name, value) in enumerate(rows):
        y, length = 36 + index * 26, max(value / most * 420, 1)
        color = OURS if name.startswith("migengine") else OTHERS
        body += (f'<text x="202" y="{y + 14}" text-anchor="end">{escape(name)}</text>'
                 f'<rect x="210" y="{y}" width="{length:.1f}" height="18" fill="{color}"/>'
                 f'<text x="{216 + length:.1f}" y="{y + 14}">{value:.2f} {unit}</text>\n')
    return frame(720, 26 * len(rows) + 44, title, body)


def lines(title, across, up, series):
    """One line for each name: its points as pairs, both axes from zero."""
    right = max(x for points in series.values() for x, _ in points) or 1
    top = max(y for points in series.values() for _, y in points) or 1
    place = lambda x, y: (60 + x / right * 430, 320 - y / top * 270)
    body = (f'<path d="M60 40V320H500" fill="none" stroke="#334155"/>'
            f'<text x="280" y="352" text-anchor="middle">{escape(across)}</text>'
            f'<text x="60" y="36" text-anchor="middle">{escape(up)}</text>'
            f'<text x="54" y="324" text-anchor="end">0</text><text x="54" y="54" text-anchor="end">{top:.2g}</text>\n')
    for x in sorted({x for points in series.values() for x, _ in points}):
        body += f'<text x="{place(x, 0)[0]:.0f}" y="336" text-anchor="middle">{x:g}</text>\n'
    for index, (name, points) in enumerate(series.items()):
        color = PALETTE[index % len(PALETTE)]
        path = " ".join("%.1f,%.1f" % place(x, y) for x, y in sorted(points))
        body += (f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>'
                 f'<rect x="515" y="{46 + index * 20}" width="12" height="12" fill="{color}"/>'
                 f'<text x="533" y="{57 + index * 20}">{escape(name)}</text>\n')
    return frame(760, 365, title, body)
