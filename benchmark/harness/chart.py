"""Lines over the number of connections, as an SVG that is legible in light and dark and needs nothing to be drawn."""

from math import log2, log10

WIDTH, HEIGHT = 860, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 270, 50, 55

# By contender: colour on light, colour on dark, dashes. Okabe and Ito's colours, which the colour-blind can tell apart.
STYLES = [
    ("#6e7781", "#9198a1", "2 4"),
    ("#0072b2", "#56b4e9", ""),
    ("#d55e00", "#e69f00", ""),
    ("#a0522d", "#c8a27a", "8 4"),
    ("#009e73", "#2ec49a", ""),
    ("#aa4499", "#cc79a7", ""),
    ("#57606a", "#c9d1d9", "8 3 2 3"),
]

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 }
  .ground { fill: #ffffff }
  .grid { stroke: #d1d9e0; stroke-width: 1 }
  .line { fill: none; stroke-width: 2 }
  .ours { stroke-width: 4 }
  .leader { stroke-width: 1; opacity: .5 }
"""
DARK = """
    text { fill: #f0f6fc }
    .ground { fill: #0d1117 }
    .grid { stroke: #3d444d }
"""


def draw(title, unit, lines, ours):
    """`lines` is a list of (name, {connections: value}), in the order of the styles; the one called `ours` is thicker. Both
    axes are logarithmic: equal distances are equal ratios."""
    drawn = [(name, points, number) for number, (name, points) in enumerate(lines) if points]
    values = [value for _, points, _ in drawn for value in points.values()]
    bottom, top = decade_part(min(values), down=True), decade_part(max(values), down=False)
    widest = max(max(points) for _, points, _ in drawn)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    x = lambda connections: LEFT + width * log2(connections) / max(1, log2(widest))
    y = lambda value: TOP + height * (1 - log10(value / bottom) / log10(top / bottom))

    parts = [f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>', text(LEFT, 26, title, css="title")]
    for value in ticks(bottom, top):
        parts.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{LEFT + width}"/>')
        parts.append(text(LEFT - 8, y(value) + 4, f"{value:,g}" if value < 1 else f"{value:,.0f}", "end"))
    for connections in sorted({key for _, points, _ in drawn for key in points}):
        parts.append(f'<path class="grid" d="M{x(connections):.1f} {TOP}V{TOP + height}"/>')
        parts.append(text(x(connections), TOP + height + 20, connections, "middle"))
    parts.append(text(LEFT + width / 2, HEIGHT - 14, "connections (both scales logarithmic)", "middle"))
    middle = TOP + height / 2
    parts.append(f'<g transform="rotate(-90 16 {middle})">{text(16, middle, unit, "middle")}</g>')

    for (name, points, number), label_y in zip(drawn, labels(drawn, y)):
        points = sorted(points.items())
        css = f"s{number} line" + (" ours" if name == ours else "")
        path = "L".join(f"{x(connections):.1f} {y(value):.1f}" for connections, value in points)
        parts.append(f'<path class="{css}" d="M{path}"/>')
        parts += [f'<circle class="f{number}" cx="{x(c):.1f}" cy="{y(value):.1f}" r="3.5"/>' for c, value in points]
        # The legend stands beside the ends of the lines, in their order.
        end_x, end_y = x(points[-1][0]), y(points[-1][1])
        label_x = LEFT + width + 30
        parts.append(f'<path class="s{number} leader" fill="none" d="M{end_x + 5:.1f} {end_y:.1f}L{label_x - 6} {label_y:.1f}"/>')
        parts.append(f'<path class="{css}" d="M{label_x - 6} {label_y:.1f}h22"/>')
        parts.append(text(label_x + 22, label_y + 4, name))

    colours = lambda column: "".join(
        f".s{number} {{ stroke: {style[column]} }} .f{number} {{ fill: {style[column]} }} "
        for number, style in enumerate(STYLES)
    )
    dashes = "".join(f".s{number}.line {{ stroke-dasharray: {style[2]} }} " for number, style in enumerate(STYLES) if style[2])
    css = f"{STYLE}  {colours(0)}\n  {dashes}\n  @media (prefers-color-scheme: dark) {{{DARK}    {colours(1)}\n  }}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">\n'
        f"<style>{css}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def text(x, y, words, anchor="start", css=""):
    words = str(words).replace("&", "&amp;").replace("<", "&lt;")
    css = css and f' class="{css}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css}>{words}</text>'


def ticks(bottom, top):
    """1, 2, 5, 10, 20 … within the bounds."""
    value, steps = bottom, {1: 2, 2: 2.5, 5: 2}
    while value <= top * 1.001:
        yield value
        value *= steps[round(value / 10 ** int(log10(value * 1.001) // 1))]


def decade_part(value, down):
    """The nearest 1, 2 or 5 times a power of ten that is not beyond the value."""
    candidates = [digit * 10.0**power for power in range(-3, 9) for digit in (1, 2, 5)]
    return max(c for c in candidates if c <= value) if down else min(c for c in candidates if c > value)


def labels(drawn, y):
    """Where the names stand: at the ends of their lines, but never on one another."""
    ends = [y(points[max(points)]) for _, points, _ in drawn]
    order = sorted(range(len(ends)), key=ends.__getitem__)
    places = [0.0] * len(ends)
    last = TOP - 20
    for index in order:
        last = places[index] = max(ends[index], last + 20)
    overflow = max(0, last - (HEIGHT - BOTTOM))
    return [place - overflow for place in places]
