# SPDX-License-Identifier: MIT
"""Results of bench/compare as text, and as a chart."""

import math
from statistics import median
from xml.sax.saxutils import escape

COLOURS = {"ext4": "#4c566a", "btrfs": "#8fbc8f", "passthrough": "#d9a441", "zfs-fuse": "#b07aa1",
           "floor": "#bbbbbb", "floor-rings": "#888888", "foldfs": "#2266cc", "foldfs-rings": "#66aaff"}


def medians(results, row):
    """{filesystem: median} of a row."""
    return {fs: median(samples) for fs, samples in results["samples"].get(row, {}).items() if samples}


def spread(samples):
    """Half the distance from least to most, in parts of the median."""
    middle = median(samples)
    return (max(samples) - min(samples)) / 2 / middle if middle else 0


def gain(lower_is_better, base, here):
    """Change of the median in percent, more being better."""
    change = (median(here) / median(base) - 1) * 100
    return -change if lower_is_better else change


def is_loss(lower_is_better, samples, names, allowed):
    """Is the second of NAMES worse than the first by more than ALLOWED percent, and than either spreads? Or not measured?"""
    if not set(names) <= samples.keys():
        return True
    base, here = (samples[name] for name in names)
    noise = max(spread(base), spread(here)) * 100
    return -gain(lower_is_better, base, here) > max(allowed, noise)


def reference(results, row, peer):
    """Median of a peer, of another row where it is PEER:ROW."""
    fs, _, other = peer.partition(":")
    return medians(results, other or row["name"]).get(fs)


def why_unknown(results, peer):
    fs = peer.partition(":")[0]
    return f"no figure of {peer}" if fs in results["filesystems"] else f"{fs} not run"


def goals_of(results, row, own_name="foldfs"):
    """[(text, reached or None if it can't be said)] for foldfs; over io_uring, beside a floor over io_uring."""
    own = medians(results, row["name"]).get(own_name)
    lower = row["lower_is_better"]
    said = []
    for peer, factor in row["goals"]:
        if own_name == "foldfs-rings" and peer == "floor":
            peer = "floor-rings"
        base = reference(results, row, peer)
        text = f"{'<=' if lower else '>='} {factor:g} x {peer}"
        if own is None:
            said.append((text, None))
            continue
        if not base:
            said.append((f"{text}: {why_unknown(results, peer)}", None))
            continue
        ratio = own / base
        said.append((f"{text}: {ratio:.2f}", ratio <= factor if lower else ratio >= factor))
    if row["limit"] is not None:
        text = f"{'<=' if lower else '>='} {row['limit']:g} {row['unit']}"
        reached = None if own is None else (own <= row["limit"] if lower else own >= row["limit"])
        said.append((text, reached))
    return said


def figure(value):
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def verdict_on(results, row, goals, own_name="foldfs"):
    """Met if each goal is known to be, missed if one is known not to be, else open."""
    if not goals or own_name not in medians(results, row["name"]):
        return ""
    reached = [ok for _, ok in goals]
    if False in reached:
        return "**missed**"
    return "open" if None in reached else "met"


def table(results):
    """Lines of a Markdown table: median and spread per filesystem, goals and whether they are met."""
    names = [fs for fs in results["filesystems"]]
    yield "| Work | Caches dropped | " + " | ".join(names) + " | Goal: reached | |"
    yield "|" + "---|" * (len(names) + 4)
    for row in results["rows"]:
        cells = []
        for fs in names:
            samples = results["samples"].get(row["name"], {}).get(fs)
            cells.append(f"{figure(median(samples))} ±{spread(samples) * 100:.0f} %"
                         if samples else "–")
        goals = goals_of(results, row)
        texts = "; ".join(text for text, _ in goals)
        verdict = verdict_on(results, row, goals)
        if goals and "foldfs-rings" in results["samples"].get(row["name"], {}):
            rings = goals_of(results, row, "foldfs-rings")
            texts += "; over io_uring " + "; ".join(text for text, _ in rings)
            verdict += f"; over io_uring {verdict_on(results, row, rings, 'foldfs-rings')}"
        yield (f"| {row['title']}, {row['unit']} | {row['caches']} | " + " | ".join(cells)
               + f" | {texts} | {verdict} |")


def text(results):
    machine = results["machine"]
    lines = [f"Kernel {machine['kernel']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB, "
             f"{results['settings']['memory']} GiB of them free; "
             f"{results['rounds']} rounds; load {machine['load_before']:.1f} before and "
             f"{machine['load_after']:.1f} after; files of {results['settings']['size']} MiB, "
             f"{results['settings']['files']} created files.", "",
             "Median of the rounds and half the span from worst to best. A goal that has no figure to be held",
             "against leaves its row open. \"all\" under Caches dropped:",
             *[f"{name}: {how}." for name, how in results["caches"].items()], ""]
    lines += list(table(results))
    lines += [f"\n{note}" for note in results["notes"]]
    lines += [f"\nFailed: {failure}" for failure in results["failures"]]
    return "\n".join(lines) + "\n"


# The chart: one group a row, one bar a filesystem, its length the speed as a ratio to ext4 on a
# logarithmic scale; a tick marks the goal.

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 900, 380, 70, 9, 14, 56
LOW, HIGH = 0.01, 10


def x_of(ratio):
    ratio = min(max(ratio, LOW), HIGH)
    return LEFT + (WIDTH - LEFT - RIGHT) * math.log(ratio / LOW) / math.log(HIGH / LOW)


def chart_rows(results):
    """(row, {filesystem: speed over ext4's}, goal as such a ratio or None)."""
    for row in results["rows"]:
        values = medians(results, row["name"])
        base = values.get("ext4")
        if not base or row["name"] == "zstd":
            continue
        lower = row["lower_is_better"]
        ratios = {fs: (base / v if lower else v / base) for fs, v in values.items() if v and fs != "ext4"}
        factor = next((f for peer, f in row["goals"] if peer == "ext4"), None)
        yield row, ratios, factor and (1 / factor if lower else factor)


def bars(results):
    y = TOP
    for row, ratios, goal in chart_rows(results):
        height = max(len(ratios), 1) * BAR
        yield (f'<text x="{LEFT - 8}" y="{y + height / 2 + 4:.0f}" text-anchor="end">'
               f'{escape(row["title"])}</text>')
        for n, (fs, ratio) in enumerate(ratios.items()):
            end = x_of(ratio)
            start = x_of(1)
            yield (f'<rect x="{min(start, end):.1f}" y="{y + n * BAR}" width="{abs(end - start):.1f}" '
                   f'height="{BAR - 2}" fill="{COLOURS[fs]}"/>')
            yield (f'<text class="n" x="{max(start, end) + 4:.1f}" y="{y + n * BAR + 7}">'
                   f'{ratio:.2f}</text>')
        if goal:
            at = x_of(goal)
            yield (f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y - 3}" y2="{y + height + 1}" '
                   f'stroke="#c03030" stroke-width="2"/>')
        y += height + GAP
    yield y


def svg(results):
    *body, bottom = list(bars(results))
    scale = []
    for ratio in [0.01, 0.1, 1, 10]:
        at = x_of(ratio)
        scale.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 8}" y2="{bottom}" '
                     f'stroke="{"#444" if ratio == 1 else "#ddd"}"/>')
        scale.append(f'<text x="{at:.1f}" y="{TOP - 14}" text-anchor="middle">{ratio:g} x</text>')
    legend, x = [], 10
    for fs in results["filesystems"]:
        if fs != "ext4":
            legend.append(f'<rect x="{x}" y="10" width="10" height="10" fill="{COLOURS[fs]}"/>'
                          f'<text x="{x + 14}" y="19">{fs}</text>')
            x += 30 + 8 * len(fs)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom + 10}" '
        f'viewBox="0 0 {WIDTH} {bottom + 10}">',
        "<style>text { font: 12px sans-serif } .n { font-size: 8px }</style>",
        f'<rect width="{WIDTH}" height="{bottom + 10}" fill="white"/>',
        *scale, *legend,
        f'<text x="{x + 10}" y="19">speed relative to ext4 (right is faster); red: goal</text>',
        *body, "</svg>"]) + "\n"
