// What a payload says, value by value. Which numbers have which unit the catalog says: nothing here knows a kind.

import type { CatalogQuery } from '../../generated/graphql';
import { type Command, commandOf } from './form';
import { at, escaped } from './pointer';
import { unitInWords } from './words';

type Told = CatalogQuery['kinds'][number];
type NumberTold = Told['topics'][number]['numbers'][number];

/** A topic of a kind, as far as a card is concerned. */
export type Topic = {
  /** As the catalog writes it: what is in braces stands for a number. */
  suffix: string;
  /** Whether it is one of many, such as the channels of a supply. */
  many: boolean;
  /** Whether it speaks at a pace of its own, and not when something happens. */
  paced: boolean;
  /** Whether each message is a row of a picture. */
  row: boolean;
  numbers: readonly NumberTold[];
  pattern: RegExp;
};

export type Kind = { name: string; summary: string; topics: readonly Topic[]; commands: readonly Command[] };

export type Value = {
  label: string;
  text: string;
  unit: string;
  /** What `text` leaves out. */
  full: string | null;
  tone: 'number' | 'text' | 'yes' | 'no';
  /** Whether it needs the room of two. */
  wide: boolean;
};

/** In characters: what a device says may be of any length. */
const LONGEST_TEXT = 48;
const LONGEST_FULL = 480;
const NARROW_TEXT = 11;
/** More than any kind has; a payload may say more than its kind. */
const MOST_VALUES = 16;
const MOST_ITEMS = 6;
const DEEPEST = 3;
const MOST_POINTERS = 256;
const MOST_DECIMALS = 3;
/** From here on, digits say less than the power. */
const LARGE = 10_000_000;
/** Labels that add nothing to what they stand in. */
const EMPTY_LABELS = new Set(['value', 'data']);

export function kindOf({ name, summary, topics }: Told): Kind {
  return {
    name,
    summary,
    topics: topics
      .filter(topic => topic.class !== 'COMMAND')
      .map(({ suffix, firstIndex, numbers, class: why }) => ({
        suffix,
        many: firstIndex !== null,
        paced: why !== 'EVENT',
        row: firstIndex !== null && numbers.some(({ pointer }) => pointer === '/*'),
        numbers,
        pattern: patternOf(suffix),
      })),
    // Of none there are many: a form would have to ask which.
    commands: topics
      .filter(topic => topic.class === 'COMMAND' && topic.firstIndex === null)
      .map(topic => commandOf(name, topic)),
  };
}

/**
 * How to read what a service says while it may be of several kinds. It fits the most likely one too, but not more of that
 * is taken for true than the payload says itself.
 */
export function guess(likely: Kind | undefined): Kind | null {
  if (!likely) return null;
  const topics = likely.topics.map(topic => ({
    ...topic,
    row: false,
    numbers: topic.numbers.filter(({ unitAt }) => unitAt !== null),
  }));
  return { ...likely, topics };
}

/** How wide values have been, so that nothing moves when they change. */
export class Widths {
  /** By pointer: the most decimals of a number, and the most characters of a text. */
  #decimals = new Map<string, number>();
  #characters = new Map<string, number>();

  decimals(pointer: string, now: number): number {
    return widest(this.#decimals, pointer, now);
  }

  characters(pointer: string, now: number): number {
    return widest(this.#characters, pointer, now);
  }
}

function widest(before: Map<string, number>, pointer: string, now: number): number {
  // A payload may have other fields each time.
  if (before.size > MOST_POINTERS) before.clear();
  const width = Math.max(before.get(pointer) ?? 0, now);
  before.set(pointer, width);
  return width;
}

/** What a payload says: the numbers of the catalog first, then the rest in the order of the payload. */
export function valuesOf(raw: unknown, topic: Topic | null, widths: Widths): Value[] {
  const numbers = topic?.numbers ?? [];
  const units = new Set(numbers.map(({ unitAt }) => unitAt));
  const leaves = leavesOf(raw).filter(({ pointer }) => !units.has(pointer));
  const known = numbers.flatMap(({ pointer }) => leaves.filter(leaf => means(pointer, leaf)));
  const all = [...known, ...leaves.filter(leaf => !known.includes(leaf))].slice(0, MOST_VALUES);
  const last = all.map(({ path }) => path.at(-1));
  return all.map(({ path, pointer, said }, index) => {
    const number = numbers.find(number => means(number.pointer, { pointer, said }));
    const told = number?.unitAt ? at(raw, number.unitAt) : number?.unit;
    const unique = last.indexOf(last[index]) === index && last.lastIndexOf(last[index]) === index;
    const label = (unique ? path.slice(-1) : path).join(' ').replaceAll('_', ' ');
    const unit = typeof told === 'string' ? unitInWords(told) : '';
    return { label, unit, ...inWords(said, pointer, widths) };
  });
}

/** Whether its label says anything beside the name of its topic. */
export const telling = ({ label, tone }: Value) => label !== '' && (tone !== 'number' || !EMPTY_LABELS.has(label));

type Leaf = { path: readonly string[]; pointer: string; said: unknown };

function leavesOf(raw: unknown, path: readonly string[] = []): Leaf[] {
  if (raw === null || raw === undefined) return [];
  const nested = typeof raw === 'object' && (!Array.isArray(raw) || raw.some(item => typeof item === 'object'));
  if (nested && path.length < DEEPEST) {
    return Object.entries(raw).slice(0, MOST_VALUES).flatMap(([name, inner]) => leavesOf(inner, [...path, name]));
  }
  // A value with its unit is named after what it is of.
  const named = path.length > 1 && path.at(-1) === 'value' ? path.slice(0, -1) : path;
  return [{ path: named, pointer: path.map(name => `/${escaped(name)}`).join(''), said: raw }];
}

/** A list is one value, whatever is meant by each item of it. */
function means(pointer: string, { pointer: there, said }: Pick<Leaf, 'pointer' | 'said'>): boolean {
  return pointer === there || (Array.isArray(said) && pointer === `${there}/*`);
}

function inWords(said: unknown, pointer: string, widths: Widths): Omit<Value, 'label' | 'unit'> {
  if (typeof said === 'number') return { text: figure(said, pointer, widths), full: null, tone: 'number', wide: false };
  if (typeof said === 'boolean') return { text: said ? 'yes' : 'no', full: null, tone: said ? 'yes' : 'no', wide: false };
  const text = Array.isArray(said) ? listInWords(said, pointer, widths) : typeof said === 'string' ? said : JSON.stringify(said);
  const wide = widths.characters(pointer, text.length) > NARROW_TEXT;
  if (text.length <= LONGEST_TEXT) return { text, full: null, tone: 'text', wide };
  return { text: `${text.slice(0, LONGEST_TEXT)}…`, full: text.slice(0, LONGEST_FULL), tone: 'text', wide };
}

function listInWords(items: readonly unknown[], pointer: string, widths: Widths): string {
  if (items.length === 0) return 'none';
  const words = items.slice(0, MOST_ITEMS).map((item, index) => inWords(item, `${pointer}/${index}`, widths).text);
  const more = items.length - words.length;
  return words.join(', ') + (more > 0 ? ` and ${more} more` : '');
}

function figure(value: number, pointer: string, widths: Widths): string {
  if (Math.abs(value) >= LARGE) return value.toExponential(2).replace('e+', 'e').replaceAll('-', '−');
  const written = String(value).split('.')[1]?.length ?? 0;
  const most = String(value).includes('e') ? MOST_DECIMALS : Math.min(written, MOST_DECIMALS);
  const digits = value.toFixed(widths.decimals(pointer, most));
  return (Number(digits) === 0 ? digits.replace('-', '') : digits).replaceAll('-', '−');
}

function patternOf(suffix: string): RegExp {
  const plain = (text: string) => text.replaceAll(/[.*+?^$()|[\]\\]/g, '\\$&');
  return new RegExp(`^${suffix.split(/\{\w+\}/).map(plain).join('\\d+')}$`);
}
