// How a chart looks: temperature over time, the threshold, and in another colour by how much it is exceeded.

import uPlot from 'uplot';

/** What is under the pointer. */
export type Pointed = { at: number; temperature: number; threshold: number };

const [TEMPERATURE, THRESHOLD] = [1, 2];
/** A flat line stays flat: noise below this many degrees is not blown up. */
const SMALLEST_SPAN = 4;
const MARGIN = 0.08;
const MINUTE = 60;
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
      padding: [8, 6, 0, 0],
      legend: { show: false },
      // What happened at the same time elsewhere is shown there.
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: 'time', scales: ['x', null] } },
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
        { ...axis, size: 38, gap: 4, space: 30, values: (_, values) => values.map(value => `${value}°`) },
      ],
      series: [
        {},
        {
          stroke: () => colour('accent'),
          width: 2,
          // A reading between two gaps is no line.
          points: { show: true, size: 4, fill: () => colour('accent'), filter: (drawn, index) => alone(drawn.data[index]!) },
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
  const index = cursor.idx;
  if (index === null || index === undefined || (cursor.left ?? -1) < 0) return null;
  const [at, temperature, threshold] = [data[0][index], data[TEMPERATURE]?.[index], data[THRESHOLD]?.[index]];
  if (at === undefined || typeof temperature !== 'number' || typeof threshold !== 'number') return null;
  return { at: at * 1_000, temperature, threshold };
}

function span(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null) return [20, 40];
  const middle = (low + high) / 2;
  const half = Math.max(high - low, SMALLEST_SPAN) * (0.5 + MARGIN);
  return [middle - half, middle + half];
}

function alone(values: ArrayLike<number | null | undefined>): number[] {
  const there = (index: number) => typeof values[index] === 'number';
  return Array.from(values, (_, index) => index).filter(index => there(index) && !there(index - 1) && !there(index + 1));
}
