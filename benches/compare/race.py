"""Races: the same migrations by every tool in turn, several times, each time into a database of its own."""
from peers import ALL, ATOMIC, OTHERS, OURS, PSQL, PSQL_ONE
from stand import Run, forget, median

# Who takes more than this many times what psql took is not asked again: nobody needs the median of a tool that far behind.
HOPELESS = 1.35
COUNT = "SELECT count(*) FROM pg_class WHERE relname ~ '^t[0-9]+(_name)?$' AND relkind IN ('r', 'i')"


class Lane:
    """What was measured of one tool."""

    def __init__(self, peer, folder, count):
        self.peer, self.folder, self.count = peer, folder, count
        self.apply, self.nothing, self.far, self.failed = [], [], [], None

    def per_migration(self):
        return median(self.apply) / self.count


def race(server, scratch, count, runs, port=None, peers=None, far=None):
    """Applies `count` migrations through `port`, then again where there is nothing to do; through `far` too, if given."""
    lanes = [Lane(peer, peer.prepare(scratch, min(count, peer.most)), min(count, peer.most))
             for peer in (peers or ALL) if peer.is_here()]
    for turn in range(runs):
        for lane in lanes:
            if lane.failed or (turn and hopeless(lane, lanes[0])):
                continue
            server.create("race")
            server.rest()
            forget(lane.folder)
            command, how = lane.peer.command(lane.folder, server.url("race", port))
            run = Run(command, **how)
            made = int(server.psql(COUNT, "race"))
            if not run.ok or made != 2 * lane.count:
                lane.failed = run.complaint.splitlines()[-1] if not run.ok else f"made {made} of {2 * lane.count} relations"
            else:
                lane.apply.append(run.seconds)
                if lane.peer.repeats:
                    # The first one may still write down what it found.
                    lane.nothing += [Run(command, **how).needed().seconds for _ in range(2)][1:]
                if far and lane.peer.repeats:
                    command, how = lane.peer.command(lane.folder, server.url("race", far))
                    lane.far += [Run(command, **how).needed().seconds for _ in range(3)]
            print(f"  {lane.peer.name}: {lane.failed or f'{lane.apply[-1]:.2f} s'}", flush=True)
            server.drop("race")
    return lanes


def hopeless(lane, psql):
    ours = lane.peer in (OURS, ATOMIC, PSQL, PSQL_ONE)
    return not ours and bool(lane.apply) and lane.per_migration() > HOPELESS * psql.per_migration()


def table(lanes, far_ms=None):
    """Rows of Markdown: seconds, ratio to psql with one transaction each, nothing to do."""
    psql = next(lane for lane in lanes if lane.peer is PSQL)
    far = f" nothing to do, {far_ms} ms |" if far_ms else ""
    text = f"| | version | migrations | seconds | of psql | runs | nothing to do |{far}\n|---|---|---|---|---|---|---|{'---|' if far else ''}\n"
    for lane in lanes:
        head = f"| {lane.peer.name} | {lane.peer.version()} | {lane.count} |"
        if lane.failed:
            text += f"{head} failed: {lane.failed[:80]} | | | |{' |' if far else ''}\n"
            continue
        text += f"{head} {median(lane.apply):.2f} | {lane.per_migration() / psql.per_migration():.2f} | {len(lane.apply)} |"
        text += f" {median(lane.nothing):.3f} |" if lane.nothing else " |"
        text += (f" {median(lane.far):.3f} |" if lane.far else " |") if far else ""
        text += "\n"
    absent = [peer.name for peer in OTHERS if not peer.is_here()]
    return text + (f"\nNot installed here, so not measured: {', '.join(absent)}.\n" if absent else "")


def of(lanes, peer):
    return next(lane for lane in lanes if lane.peer is peer)


def fastest(lanes, what):
    """The best of the other tools that were given as many migrations as we: its name and its median."""
    most = max(lane.count for lane in lanes)
    found = [(median(what(lane)), lane.peer.name) for lane in lanes
             if lane.peer in OTHERS and not lane.failed and what(lane) and lane.count == most]
    seconds, name = min(found) if found else (float("nan"), "none")
    return name, seconds

