// A command as a form: its fields by the JSON Schema of the payload, and the payload by what stands in them. Nothing here
// knows a kind.

import type { CatalogQuery } from '../../generated/graphql';
import { at, escaped } from './pointer';
import { unitInWords } from './words';

type Told = CatalogQuery['kinds'][number]['topics'][number];
type Effect = NonNullable<Told['effect']>;

/** A topic on which a service is told something. */
export type Command = {
  kind: string;
  suffix: string;
  shape: Shape;
  example: unknown;
  effect: Effect | null;
  answer: Told['answer'];
};

/** What a payload is made of. */
export type Shape = Field | Group | Choice;

export type Field = {
  is: 'field';
  /** JSON pointer, empty for the payload as a whole. */
  pointer: string;
  label: string;
  hint: string;
  unit: string;
  required: boolean;
  control: Control;
};

export type Group = { is: 'group'; pointer: string; required: boolean; members: readonly Member[] };

/** One of several shapes. */
export type Choice = { is: 'choice'; pointer: string; label: string; variants: readonly Member[] };

export type Member = { name: string; shape: Shape };

export type Control =
  | { as: 'number'; whole: boolean; min: number | null; max: number | null }
  | { as: 'switch' }
  | { as: 'text' }
  /** Values as JSON. */
  | { as: 'select'; options: readonly { text: string; json: string }[] }
  /** Numbers with commas between them. */
  | { as: 'numbers' }
  | { as: 'json' };

/** What stands in a form, by the pointer of the field; of a choice, the name of the variant. */
export type Draft = Record<string, string | boolean>;

/** What is wrong with a field, by its pointer. */
export type Flaw = { pointer: string; detail: string };

/** What a form begins with, how much of it the device has reported, and where the rest comes from. */
export type Beginning = { draft: Draft; reported: 'all' | 'some' | 'none'; rest: 'sent' | 'example' };

type Schema = Record<string, unknown>;

/** Larger limits say what a type can hold, and nothing to a person. */
const LARGEST_LIMIT = 1e12;
/** Payloads are no deeper than that; what is goes into a field for JSON. */
const DEEPEST = 4;
const YES_OR_NO = [
  { text: 'yes', json: 'true' },
  { text: 'no', json: 'false' },
];
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

export function commandOf(kind: string, { suffix, jsonSchema, numbers, examples, effect, answer }: Told): Command {
  const units = new Map(numbers.map(({ pointer, unit }) => [pointer.replace(/\/\*$/, ''), unitInWords(unit ?? '')]));
  const label = inWords(suffix.slice(1) || kind);
  const known: Known = { document: jsonSchema, units };
  const shape = shapeOf(schemaOf(jsonSchema, known), { pointer: '', label, required: true }, known);
  return { kind, suffix, shape, example: examples[0], effect, answer };
}

/** Every field that may be seen, whatever is chosen. */
export function fieldsOf(shape: Shape): readonly Field[] {
  if (shape.is === 'field') return [shape];
  const members = shape.is === 'group' ? shape.members : shape.variants;
  return members.flatMap(member => fieldsOf(member.shape));
}

/** The variant of a choice that is chosen. */
export function chosen({ pointer, variants }: Choice, draft: Draft): Member | undefined {
  return variants.find(({ name }) => name === draft[choiceAt(pointer)]) ?? variants[0];
}

/** Where a draft keeps what is chosen: no field stands there. */
export const choiceAt = (pointer: string) => `${pointer} `;

/** Whether what would be sent can hurt. */
export function hazardous({ effect }: Command, draft: Draft): boolean {
  return effect?.class === 'HAZARD' && (effect.when === null || draft[effect.when] === true);
}

/**
 * What a form begins with: what the device said last of each field, or else what was sent from here, or else the example.
 * Nothing that can hurt is switched on by an example, and what may be left out is.
 */
export function draftOf(command: Command, said: (suffix: string) => unknown, sent: unknown): Beginning {
  const draft: Draft = {};
  const rest = sent === undefined ? 'example' : 'sent';
  const example = sent === undefined ? command.example : sent;
  const reported = reportedBy(command, said, example);
  let known = 0;
  const fill = (shape: Shape): void => {
    if (shape.is === 'group') return shape.members.forEach(member => fill(member.shape));
    if (shape.is === 'choice') {
      const stands = shape.variants.find(variant => speaks(variant.shape, example));
      draft[choiceAt(shape.pointer)] = (stands ?? shape.variants[0])?.name ?? '';
      return shape.variants.forEach(variant => fill(variant.shape));
    }
    const { pointer, control, required } = shape;
    const now = required ? entry(control, reported(pointer)) : null;
    if (now !== null) known += 1;
    const dangerous = pointer === command.effect?.when;
    const otherwise = dangerous ? null : entry(control, at(example, pointer));
    draft[pointer] = now ?? otherwise ?? (control.as === 'switch' ? false : '');
  };
  fill(command.shape);
  const all = fieldsOf(command.shape).filter(({ required }) => required).length;
  return { draft, reported: known === 0 ? 'none' : known < all ? 'some' : 'all', rest };
}

/** What stands in a form as JSON, numbers as they are written, or what keeps it from being JSON. */
export function payloadOf(shape: Shape, draft: Draft): { payload: string; flaws: readonly Flaw[] } {
  const flaws: Flaw[] = [];
  const payload = written(shape, draft, flaws) ?? 'null';
  return { payload, flaws };
}

// ── from a schema ─────────────────────────────────────────────────────────────────────────────────────

type Place = { pointer: string; label: string; required: boolean };
/** The document in which the schemas refer to each other, and units by the pointer of what they are of. */
type Known = { document: unknown; units: ReadonlyMap<string, string> };

function shapeOf(schema: Schema, place: Place, known: Known): Shape {
  const { pointer, label, required } = place;
  const several = listOf(schema.oneOf ?? schema.anyOf).map(inner => schemaOf(inner, known));
  const variants = several.filter(({ type }) => type !== 'null');
  const depth = pointer.split('/').length - 1;
  if (variants.length > 0 && depth < DEEPEST && variants.every(({ const: value }) => value === undefined)) {
    const shapes = variants.map((variant, index) => ({
      name: nameOf(variant) ?? String(index + 1),
      shape: shapeOf(variant, place, known),
    }));
    return shapes.length > 1 ? { is: 'choice', pointer, label, variants: shapes } : shapes[0]!.shape;
  }
  if (isRecord(schema.properties) && depth < DEEPEST) {
    const wanted = listOf(schema.required);
    const members = Object.entries(schema.properties).map(([name, inner]) => ({
      name,
      shape: shapeOf(
        schemaOf(inner, known),
        { pointer: `${pointer}/${escaped(name)}`, label: inWords(name), required: required && wanted.includes(name) },
        known,
      ),
    }));
    // In the order of the list of what is required, which is that of the document.
    const rank = ({ name }: Member) => (wanted.includes(name) ? wanted.indexOf(name) : wanted.length);
    return { is: 'group', pointer, required, members: members.sort((a, b) => rank(a) - rank(b)) };
  }
  const control = controlOf(schema, required, variants, schemaOf(schema.items, known));
  return { is: 'field', ...place, hint: hintOf(schema, control), unit: known.units.get(pointer) ?? '', control };
}

function controlOf(schema: Schema, required: boolean, variants: readonly Schema[], items: Schema): Control {
  const values = [...listOf(schema.enum), ...variants.map(({ const: value }) => value)].filter(value => value !== null);
  const options = values.map(value => ({ text: String(value), json: JSON.stringify(value) }));
  if (options.length > 0) return { as: 'select', options };
  const types = listOf(typeof schema.type === 'string' ? [schema.type] : schema.type).filter(type => type !== 'null');
  switch (types.length === 1 ? types[0] : null) {
    case 'boolean':
      // What may be left out has three states.
      return required ? { as: 'switch' } : { as: 'select', options: YES_OR_NO };
    case 'integer':
      return { as: 'number', whole: true, min: limit(schema.minimum), max: limit(schema.maximum) };
    case 'number':
      return { as: 'number', whole: false, min: limit(schema.minimum), max: limit(schema.maximum) };
    case 'string':
      return { as: 'text' };
    case 'array':
      return ['number', 'integer'].includes(String(items.type)) ? { as: 'numbers' } : { as: 'json' };
    default:
      return { as: 'json' };
  }
}

/** A schema with what it refers to, over which goes what is said where it stands. */
function schemaOf(value: unknown, { document }: Known): Schema {
  if (!isRecord(value)) return {};
  const { $ref: place, ...own } = value;
  const referred = typeof place === 'string' && place.startsWith('#') ? at(document, place.slice(1)) : undefined;
  return isRecord(referred) ? { ...referred, ...own } : own;
}

/** What a variant is called: by its title, or the one field that it is in. */
function nameOf({ title, properties }: Schema): string | null {
  if (typeof title === 'string') return title;
  const names = isRecord(properties) ? Object.keys(properties) : [];
  return names.length === 1 ? names[0]! : null;
}

function hintOf({ description }: Schema, control: Control): string {
  const words = typeof description === 'string' ? description : '';
  const [min, max] = control.as === 'number' ? [control.min, control.max] : [null, null];
  return min !== null && max !== null ? `${words} ${min} to ${max}.`.trimStart() : words;
}

const inWords = (name: string) => name.replaceAll(/[_/]/g, ' ');
const limit = (value: unknown) => (typeof value === 'number' && Math.abs(value) < LARGEST_LIMIT ? value : null);
const isRecord = (value: unknown): value is Schema => typeof value === 'object' && value !== null && !Array.isArray(value);
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

// ── from what is known ────────────────────────────────────────────────────────────────────────────────

/** What the device said last of a field of a command, by the rule of its answers. */
function reportedBy({ answer }: Command, said: (suffix: string) => unknown, example: unknown) {
  if (answer && 'named' in answer) {
    const telemetry = said(`/${String(at(example, answer.named)).toLowerCase()}`);
    return (pointer: string) => at(telemetry, pointer === answer.sent ? answer.reported : pointer);
  }
  if (!answer || !('on' in answer)) return () => undefined;
  const last = said(answer.on);
  if ('success' in answer) return (pointer: string) => at(last, answer.success + pointer);
  if (!('fields' in answer)) return (pointer: string) => at(last, pointer);
  return (pointer: string) => {
    const field = answer.fields.find(({ sent }) => sent === pointer);
    return field && !field.inWords ? at(last, field.reported) : undefined;
  };
}

/** Whether a payload says anything of this shape. */
function speaks(shape: Shape, payload: unknown): boolean {
  if (shape.is === 'field') return entry(shape.control, at(payload, shape.pointer)) !== null;
  const members = shape.is === 'group' ? shape.members : shape.variants;
  return members.some(member => speaks(member.shape, payload));
}

/** How a value stands in a field. Null if it cannot. */
function entry(control: Control, value: unknown): string | boolean | null {
  if (value === undefined) return null;
  switch (control.as) {
    case 'switch':
      return typeof value === 'boolean' ? value : null;
    case 'number':
      return typeof value === 'number' && (!control.whole || Number.isInteger(value)) ? String(value) : null;
    case 'text':
      return typeof value === 'string' ? value : null;
    case 'select':
      return control.options.find(({ json }) => json === JSON.stringify(value))?.json ?? null;
    case 'numbers':
      return Array.isArray(value) && value.every(item => typeof item === 'number') ? value.join(', ') : null;
    case 'json':
      return JSON.stringify(value);
  }
}

// ── to a payload ──────────────────────────────────────────────────────────────────────────────────────

/** As JSON. Null when it is left out. */
function written(shape: Shape, draft: Draft, flaws: Flaw[]): string | null {
  if (shape.is === 'choice') {
    const variant = chosen(shape, draft);
    return variant ? written(variant.shape, draft, flaws) : null;
  }
  if (shape.is === 'group') {
    const members = shape.members.flatMap(({ name, shape: inner }) => {
      const value = written(inner, draft, flaws);
      return value === null ? [] : [`${JSON.stringify(name)}:${value}`];
    });
    return members.length > 0 || shape.required ? `{${members.join(',')}}` : null;
  }
  const { pointer, control, required } = shape;
  const stands = draft[pointer] ?? '';
  if (typeof stands === 'boolean') return String(stands);
  const text = stands.trim();
  if (text === '' && !required) return null;
  const json = jsonOf(control, text);
  if (json === null) flaws.push({ pointer, detail: WANTED[control.as] });
  return json;
}

const WANTED: Record<Control['as'], string> = {
  number: 'expected a number',
  switch: 'expected yes or no',
  text: 'expected a text',
  select: 'choose one',
  numbers: 'expected numbers, with commas between them',
  json: 'expected JSON',
};

function jsonOf({ as }: Control, text: string): string | null {
  switch (as) {
    case 'number':
      return numberAsJson(text);
    case 'numbers': {
      const items = text.split(/[\s,;]+/).filter(Boolean).map(numberAsJson);
      return items.includes(null) ? null : `[${items.join(',')}]`;
    }
    case 'json':
      return isJson(text) ? text : null;
    case 'text':
      return text === '' ? null : JSON.stringify(text);
    case 'switch':
    case 'select':
      return text === '' ? null : text;
  }
}

function numberAsJson(text: string): string | null {
  if (JSON_NUMBER.test(text)) return text;
  return text !== '' && Number.isFinite(Number(text)) ? String(Number(text)) : null;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
