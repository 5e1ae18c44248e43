// The last readings of a device as a line, with its threshold. Where readings are missing, so is the line.

const WIDTH = 600;
const HEIGHT = 100;
const MARGIN = 8;
/** Longer silence is a gap in the line. Devices speak every few seconds. */
const GAP_MS = 15_000;
/** A flat line stays flat: noise below this many degrees is not blown up. */
const SMALLEST_SPAN = 2;
/** Degrees beyond which nothing is drawn: differences between larger numbers are none. */
const LIMIT = 1e9;

/** Draws readings, oldest first, over the time from `from` to `to`. */
export function sparkline(svg, readings, from, to) {
  const inside = (value) => Math.min(Math.max(value, -LIMIT), LIMIT);
  const heights = readings.flatMap(({ temperature, threshold }) => [inside(temperature), inside(threshold)]);
  const middle = (Math.min(...heights) + Math.max(...heights)) / 2;
  const span = Math.max(Math.max(...heights) - Math.min(...heights), SMALLEST_SPAN);
  const x = (time) => ((time - from) / (to - from)) * WIDTH;
  const y = (value) => HEIGHT / 2 - ((inside(value) - middle) / span) * (HEIGHT - 2 * MARGIN);
  svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  line(svg, 'threshold', path(readings, (reading) => y(reading.threshold)));
  line(svg, 'temperature', path(readings, (reading) => y(reading.temperature)));

  function path(items, height) {
    let before = -Infinity;
    return items.map((item) => {
      const time = Date.parse(item.at);
      const step = time - before > GAP_MS ? 'M' : 'L';
      before = time;
      return `${step}${x(time).toFixed(1)} ${height(item).toFixed(1)}`;
    }).join('');
  }
}

function line(svg, name, d) {
  let path = svg.querySelector(`.${name}`);
  if (!path) {
    path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    path.setAttribute('class', name);
    path.setAttribute('vector-effect', 'non-scaling-stroke');
    svg.append(path);
  }
  path.setAttribute('d', d);
}
