//! A bar chart as SVG, drawn by hand: no library is worth a few rectangles.

use std::fmt::Write as _;

const ROW: usize = 26;
const LEFT: usize = 210;
const WIDTH: usize = 420;

/// One bar for each name and value, shortest first.
#[must_use]
pub fn bars(title: &str, unit: &str, rows: &[(String, f64)]) -> String {
    let mut rows = rows.to_vec();
    rows.sort_by(|a, b| a.1.total_cmp(&b.1));
    let most = rows.iter().map(|row| row.1).fold(f64::MIN_POSITIVE, f64::max);
    let (width, height) = (LEFT + WIDTH + 90, ROW * rows.len() + 44);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\">{title}</text>\n"
    );
    for (index, (name, value)) in rows.iter().enumerate() {
        let y = 36 + index * ROW;
        let length = (value / most * WIDTH as f64).max(1.0);
        let colour = if name.starts_with("migengine") { "#c2410c" } else { "#94a3b8" };
        // Writing into a string cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"18\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{value:.2} {unit}</text>",
            LEFT - 8,
            y + 14,
            LEFT as f64 + length + 6.0,
            y + 14
        );
    }
    svg + "</svg>\n"
}
