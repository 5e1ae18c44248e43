// The recent past of a device, as a chart draws it. It holds each reading as long as they come at a pace that a chart
// can show; of a burst it holds what can be seen of it.

/** A reading as far as a chart is concerned. Times are the gateway's, in milliseconds. */
export type Point = { seq: number; at: number; temperature: number; threshold: number };

/** What is drawn: seconds, temperatures, thresholds. Null is a gap. */
export type Drawing = [number[], (number | null)[], (number | null)[]];

export const WINDOW_MS = 15 * 60_000;
/** A chart gives a second less than a pixel or two: of more readings than this only the outline is seen. */
const POINTS_A_SECOND = 8;
/** Missing readings are a gap in the line, and these are missing: silence of three periods, but at least this. */
export const SHORTEST_GAP_MS = 8_000;
const SILENT_PERIODS = 3;
/** Intervals whose median is the period. */
const INTERVALS = 31;
/**
 * The page's clock may be so far behind the gateway's, which is told in whole seconds. A reading later than that was dated
 * by a clock that has been set back since.
 */
export const BEHIND_MS = 5_000;
/** What has left the window is let go so many points at a time. */
const DROPPED_AT_ONCE = 64;

export class Trend {
  #points: Point[] = [];
  /** The newest reading that went in, which is not the last one by time if the clock was set back. */
  lastSeq = 0;

  /** A reading that goes in once. */
  add(point: Point, now: number): void {
    this.lastSeq = Math.max(this.lastSeq, point.seq);
    const points = this.#points;
    const last = points.at(-1);
    if (last && point.at < last.at) {
      // A replayed message has the time at which it came.
      points.splice(indexAt(points, point.at), 0, point);
    } else {
      points.push(point);
    }
    this.#thin(point.at);
    this.#forget(now);
  }

  /** What was measured before, oldest first. */
  remember(past: readonly Point[], now: number): void {
    this.#points = [...past, ...this.#points].sort((a, b) => a.at - b.at);
    for (const { seq } of past) this.lastSeq = Math.max(this.lastSeq, seq);
    // From the end, because what is thinned gets shorter.
    for (let index = this.#points.length - 1; index >= 0; ) index = this.#thin(this.#points[index]!.at) - 1;
    this.#forget(now);
  }

  /** The readings of this span, for a line with gaps. */
  drawing(from: number, to: number): Drawing {
    const drawing: Drawing = [[], [], []];
    const [times, temperatures, thresholds] = drawing;
    const gap = this.#gap();
    let before = Infinity;
    for (const { at, temperature, threshold } of this.#between(from, to)) {
      if (at - before > gap) {
        times.push((before + at) / 2_000);
        temperatures.push(null);
        thresholds.push(null);
      }
      times.push(at / 1_000);
      temperatures.push(temperature);
      thresholds.push(threshold);
      before = at;
    }
    return drawing;
  }

  /** How many readings the span holds, and between which temperatures. */
  extent(from: number, to: number): { count: number; low: number; high: number } {
    const extent = { count: 0, low: Infinity, high: -Infinity };
    for (const { temperature } of this.#between(from, to)) {
      extent.count += 1;
      extent.low = Math.min(extent.low, temperature);
      extent.high = Math.max(extent.high, temperature);
    }
    return extent;
  }

  #between(from: number, to: number): Point[] {
    return this.#points.slice(indexAt(this.#points, from), indexAt(this.#points, to + 1));
  }

  #gap(): number {
    const last = this.#points.slice(-INTERVALS - 1);
    const intervals = last.slice(1).map((point, index) => point.at - last[index]!.at);
    intervals.sort((a, b) => a - b);
    return Math.max(SHORTEST_GAP_MS, SILENT_PERIODS * (intervals[intervals.length >> 1] ?? 0));
  }

  /** Keeps the outline of a second in which there are too many, its ends and its extremes. Returns where it starts. */
  #thin(at: number): number {
    const second = Math.floor(at / 1_000) * 1_000;
    const start = indexAt(this.#points, second);
    const end = indexAt(this.#points, second + 1_000);
    if (end - start <= POINTS_A_SECOND) return start;
    const all = this.#points.slice(start, end);
    const by = (better: (a: Point, b: Point) => boolean) =>
      all.reduce((best, point) => (better(point, best) ? point : best));
    const seen = new Set([
      all[0]!,
      by((a, b) => a.temperature < b.temperature),
      by((a, b) => a.temperature > b.temperature),
      all.at(-1)!,
    ]);
    this.#points.splice(start, all.length, ...all.filter(point => seen.has(point)));
    return start;
  }

  #forget(now: number): void {
    this.#points.splice(indexAt(this.#points, now + BEHIND_MS));
    const old = indexAt(this.#points, now - WINDOW_MS);
    if (old >= DROPPED_AT_ONCE) this.#points.splice(0, old);
  }
}

/** The first point at this time or later. */
function indexAt(points: readonly Point[], at: number): number {
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle]!.at < at) low = middle + 1;
    else high = middle;
  }
  return low;
}
