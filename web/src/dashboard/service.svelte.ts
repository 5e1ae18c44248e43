// A service as the page knows it: how well its kind is known, and the last that it said on each of its topics.

import type { ServiceState, SpokenFragment, StandsFragment } from '../../generated/graphql';
import { type Kind, type Topic, Widths } from './values';

/** Gaps by which the pace of a topic is known; fewer say nothing, as when somebody sends two commands. */
const GAPS = 5;
const FEWEST_GAPS = 3;
/** Silence of three of its longest gaps, but at least this, is long for a topic. */
const SILENT_GAPS = 3;
const SHORTEST_SILENCE_MS = 6_000;
/** More than any kind has. What comes on others of a service is not shown. */
const MOST_TOPICS = 128;

export class Said {
  readonly suffix: string;
  reading = $state.raw<SpokenFragment | null>(null);
  /** After which age its value is old by its own pace, in milliseconds. Null while that is not known. */
  oldAfter = $state<number | null>(null);
  /** Whether it was heard more than once. */
  again = $state(false);
  readonly widths = new Widths();
  /** As heard, shown or not yet. */
  seq = 0;
  #times = 0;
  #at = NaN;
  #gaps: number[] = [];

  constructor(suffix: string) {
    this.suffix = suffix;
  }

  hear(reading: SpokenFragment): void {
    this.#times += 1;
    this.seq = reading.seq;
    const at = Date.parse(reading.at);
    const gap = (at - this.#at) / (reading.skipped + 1);
    this.#at = at;
    if (gap >= 0) this.#gaps = [...this.#gaps, gap].slice(-GAPS);
  }

  /** Its pace before this page was opened, from moments, newest first. */
  recall(moments: readonly number[]): void {
    const gaps = moments.slice(0, GAPS + 1).flatMap((at, index) => (index > 0 ? [moments[index - 1]! - at] : []));
    this.#gaps = [...gaps.filter(gap => gap >= 0).reverse(), ...this.#gaps].slice(-GAPS);
    this.#judge();
  }

  show(reading: SpokenFragment): void {
    this.reading = reading;
    this.again = this.#times > 1;
    this.#judge();
  }

  #judge(): void {
    const known = this.#gaps.length >= FEWEST_GAPS;
    this.oldAfter = known ? Math.max(SHORTEST_SILENCE_MS, SILENT_GAPS * Math.max(...this.#gaps)) : null;
  }
}

export class Service {
  readonly firmware: string;
  readonly name: string;
  /** Null until the gateway has told. */
  standing = $state.raw<StandsFragment | null>(null);
  /** By suffix. */
  topics = $state.raw<readonly Said[]>([]);
  /** As heard, shown or not yet. */
  state: ServiceState | null = null;
  #heard = new Map<string, Said>();

  constructor(firmware: string, name: string) {
    this.firmware = firmware;
    this.name = name;
  }

  get path(): string {
    return `${this.firmware}/${this.name}`;
  }

  /** A topic of it. Null when there are too many. */
  said(suffix: string): { said: Said; isNew: boolean } | null {
    const before = this.#heard.get(suffix);
    if (before) return { said: before, isNew: false };
    if (this.#heard.size >= MOST_TOPICS) return null;
    const said = new Said(suffix);
    this.#heard.set(suffix, said);
    return { said, isNew: true };
  }

  /** When it spoke before this page was opened, newest first. */
  recall(readings: readonly { suffix: string; at: string }[]): void {
    for (const said of this.#heard.values()) {
      const mine = readings.filter(({ suffix }) => suffix === said.suffix);
      said.recall(mine.map(({ at }) => Date.parse(at)));
    }
  }

  arrange(): void {
    this.topics = [...this.#heard.values()].sort((a, b) => a.suffix.localeCompare(b.suffix, 'en', { numeric: true }));
  }
}

/** Topics of which there are many of a kind, to be shown as a table, or one alone. */
export type Group = { key: string; topic: Topic | null; said: readonly Said[] };

/** What a card shows of a service: its topics, and those that are rows of a picture. */
export function arrangedBy(kind: Kind | null, topics: readonly Said[]): { groups: Group[]; rows: Said[] } {
  const groups = new Map<string, { key: string; topic: Topic | null; said: Said[] }>();
  const rows: Said[] = [];
  for (const said of topics) {
    const topic = kind?.topics.find(({ pattern }) => pattern.test(said.suffix)) ?? null;
    if (topic?.row) {
      rows.push(said);
      continue;
    }
    const key = topic?.many ? topic.suffix : said.suffix;
    const group = groups.get(key);
    if (group) group.said.push(said);
    else groups.set(key, { key, topic, said: [said] });
  }
  return { groups: [...groups.values()], rows };
}
