// How a chart looks: temperature over time, the threshold, and in another colour by how much it is exceeded.

import uPlot from 'uplot';

/** What is under the pointer. */
export type Pointed = { at: number; temperature: number; threshold: number };

const [TEMPERATURE, THRESHOLD] = [1, 2];
/** A flat line stays flat: noise below this many degrees is not blown up. */
const SMALLEST_SPAN = 4;
/** Degrees beyond which nothing is drawn: of differences between larger numbers there are no ticks. */
const LIMIT = 1e9;
const MARGIN = 0.08;
/** Pixels to the reading that is pointed at. */
const NEAR = 12;
/** In seconds: some two pixels. */
const SHORTEST_LINE_S = 4;
const MINUTE = 60;
/** Pixels for the temperatures, and for each character where they need more. */
const [SIZE, DIGIT] = [38, 8];
const FONT = '12px system-ui, sans-serif';
const HOUR_AND_MINUTE = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });

/** The colours of the page, which follow the system's preference. */
const dark = matchMedia('(prefers-color-scheme: dark)');
let palette = new Map<string, string>();
dark.addEventListener('change', () => (palette = new Map()));

function colour(name: string): string {
  const known = palette.get(name) ?? getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
  palette.set(name, known);
  return known;
}

export function chart(place: HTMLElement, pointed: (at: Pointed | null) => void): uPlot {
  const axis: uPlot.Axis = {
    font: FONT,
    stroke: () => colour('muted'),
    grid: { stroke: () => colour('line'), width: 1 },
    ticks: { show: false },
  };
  return new uPlot(
    {
      width: place.clientWidth,
      height: place.clientHeight,
      // Half a label of the time fits beside the plot.
      padding: [8, 18, 0, 0],
      legend: { show: false },
      // What happened at the same time elsewhere is shown there.
      cursor: {
        y: false,
        drag: { x: false, y: false },
        hover: { prox: NEAR },
        sync: { key: 'time', scales: ['x', null] },
      },
      scales: { x: { time: true }, y: { range: (_, low, high) => span(low, high) } },
      axes: [
        {
          ...axis,
          size: 24,
          gap: 4,
          space: 56,
          incrs: [MINUTE, 2 * MINUTE, 3 * MINUTE, 5 * MINUTE],
          values: (_, times) => times.map(time => HOUR_AND_MINUTE.format(time * 1_000)),
        },
        { ...axis, size: (_, labels) => Math.max(SIZE, ...(labels ?? []).map(label => label.length * DIGIT)), gap: 4, space: 30, values: (_, values) => values.map(degrees) },
      ],
      series: [
        {},
        {
          stroke: () => colour('accent'),
          width: 2,
          points: { show: true, size: 6, fill: () => colour('accent'), filter: drawn => alone(drawn.data) },
        },
        { stroke: () => colour('heat'), width: 1, dash: [5, 4], points: { show: false } },
      ],
      bands: [{ series: [TEMPERATURE, THRESHOLD], fill: () => colour('heat-fill'), dir: -1 }],
      hooks: {
        setCursor: [drawn => pointed(under(drawn))],
      },
    },
    [[], [], []],
    place,
  );
}

function under({ data, cursor }: uPlot): Pointed | null {
  const index = cursor.idxs?.[TEMPERATURE];
  if (index === null || index === undefined || (cursor.left ?? -1) < 0) return null;
  const [at, temperature, threshold] = [data[0][index], data[TEMPERATURE]?.[index], data[THRESHOLD]?.[index]];
  if (at === undefined || typeof temperature !== 'number' || typeof threshold !== 'number') return null;
  return { at: at * 1_000, temperature, threshold };
}

function span(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null) return [20, 40];
  const [bottom, top] = [inside(low), inside(high)];
  const middle = (bottom + top) / 2;
  const half = Math.max(top - bottom, SMALLEST_SPAN) * (0.5 + MARGIN);
  return [middle - half, middle + half];
}

const inside = (value: number) => Math.min(Math.max(value, -LIMIT), LIMIT);

const degrees = (value: number) => (Math.abs(value) < 10_000 ? `${value}°` : `${value.toExponential()}°`.replace('e+', 'e'));

/** Readings between two gaps that are too close together to be a line: a dot for each of these. */
function alone([times, temperatures]: uPlot.AlignedData): number[] {
  const dots: number[] = [];
  let start: number | null = null;
  for (let index = 0; index <= times.length; index += 1) {
    const there = typeof temperatures?.[index] === 'number';
    if (there) start ??= index;
    else if (start !== null) {
      if (times[index - 1]! - times[start]! < SHORTEST_LINE_S) dots.push(start);
      start = null;
    }
  }
  return dots;
}
