// What the gateway's names mean to a person, and how numbers and times are written.

import type {
  Action,
  Delivery,
  Hazard,
  LinkedFragment,
  MeasuredFragment,
  Mode,
  PresenceReason,
  RejectionReason,
  ServiceState,
  StandingFragment,
  StandsFragment,
  Status,
  Surface,
} from '../../generated/graphql';
import type { Sent } from '../lib/commands';

export const STATUS: Record<Status, string> = {
  ONLINE: 'Online',
  STALE: 'Stale',
  OFFLINE: 'Offline',
  UNKNOWN: 'Unknown',
};

const REASON: Record<PresenceReason, string> = {
  ANNOUNCED: 'it said it is online',
  READING: 'it sent a reading',
  TAKEOVER: 'it took over from its old connection',
  HANDOVER: 'another connection speaks for it',
  SILENCE: 'it has gone silent',
  RESTART: 'not heard since the gateway started',
  WILL: 'connection lost: its will was published',
  KEEPALIVE: 'nothing came within its keepalive',
  CLOSED: 'its connection was closed',
  SOCKET_ERROR: 'its connection broke',
  SELF_REPORTED: 'it said it is offline',
};

export const MODE: Record<Mode, string> = {
  AUTO: 'Follows its peer',
  FORCED_ON: 'Forced on by command',
  FORCED_OFF: 'Forced off by command',
  UNKNOWN: 'Unknown: it reconnected, and may have lost its override',
};

export const ACTION: Record<Action, string> = { PLAY: 'Play', STOP: 'Stop', RESUME: 'Resume' };

export const ACTIONS: readonly { action: Action; mode: Mode; tells: string }[] = [
  { action: 'PLAY', mode: 'FORCED_ON', tells: 'play, whatever its peer measures' },
  { action: 'STOP', mode: 'FORCED_OFF', tells: 'be silent, whatever its peer measures' },
  { action: 'RESUME', mode: 'AUTO', tells: 'follow its peer again' },
];

export const SURFACE: Record<Surface, string> = { REST: 'REST', GRAPHQL: 'GraphQL', MQTT: 'MQTT' };

export const REJECTION: Record<RejectionReason, string> = {
  UNKNOWN_TOPIC: 'unknown topic',
  NOT_UTF8: 'not UTF-8',
  NOT_JSON: 'not JSON',
  MISSING_FIELD: 'missing field',
  TYPE_MISMATCH: 'wrong type',
  OUT_OF_RANGE: 'out of range',
  NON_FINITE: 'not a finite number',
  KIND_CONFLICT: 'not of its kind',
  RETAINED_COMMAND: 'retained command',
  TOO_LARGE: 'too large',
  DENIED: 'denied',
};

export function presenceInWords({ status, reason }: Pick<StandingFragment, 'status' | 'reason'>): string {
  return `${STATUS[status].toLowerCase()}: ${reasonInWords({ status, reason })}`;
}

export function reasonInWords({ status, reason }: Pick<StandingFragment, 'status' | 'reason'>): string {
  if (reason === null) return 'it has not spoken yet';
  if (reason === 'SILENCE' && status === 'OFFLINE') return 'it was silent for too long';
  return REASON[reason];
}

export function hazardInWords({ device, peer, hazard }: Pick<LinkedFragment, 'device' | 'peer' | 'hazard'>): string {
  const words: Record<Hazard, string> = {
    NONE: `No hazard for ${device}`,
    PEER_STALE: `${peer} has gone silent: ${device} acts on an old reading`,
    PEER_LOST_LATCHED_ON: `${peer} was lost while over threshold: ${device} may play for ever`,
  };
  return words[hazard];
}

/** Candidates that are named; the others are counted. */
const CANDIDATES = 4;

/** What a service is, as far as that is known. */
export function standingInWords({ state, kind, candidates }: Pick<StandsFragment, 'state' | 'kind' | 'candidates'>): string {
  const words: Record<ServiceState, string> = {
    UNKNOWN: 'has not spoken yet',
    AMBIGUOUS: `may be ${oneOf(candidates)}`,
    INFERRED: `${kind}, by what it says`,
    PINNED: `${kind}, as somebody said`,
  };
  return words[state];
}

function oneOf(names: readonly string[]): string {
  const more = names.length - CANDIDATES;
  const named = more > 0 ? [...names.slice(0, CANDIDATES), `${more} others`] : names;
  return named.length > 1 ? `${named.slice(0, -1).join(', ')} or ${named.at(-1)}` : named.join();
}

/** In characters: what a device says may be of any length. */
const LONGEST_REASON = 200;
const LONGEST_VALUE = 48;

/** How well a command went: only what failed or reached nobody calls for a second look. */
export type Success = 'good' | 'doubtful' | 'bad' | 'open';

/** Why the gateway refused a command, by the code that is its reason. */
const DENIAL: Record<string, string> = {
  ARMING_REQUIRED: 'it has to be armed first',
  COMMAND_IN_FLIGHT: 'another one was under way',
  DEVICE_OFFLINE: 'its firmware was offline',
  KIND_AMBIGUOUS: 'its kind was not known',
  PAYLOAD_INVALID: 'the device would not understand it',
};

export function commandInWords(command: Sent): { words: string; success: Success } {
  const { delivery, timeoutMs, reason } = command;
  switch (command.state) {
    case 'ACCEPTED':
      return { words: 'Accepted, not sent yet', success: 'open' };
    case 'PUBLISHED':
      if (timeoutMs === null || delivery === 'NO_SUBSCRIBER') return deliveryInWords(delivery);
      return { words: 'Sent, the answer is awaited', success: 'open' };
    case 'UNCONFIRMABLE':
      return deliveryInWords(delivery);
    case 'CONFIRMED':
      return { words: `Confirmed in ${tookInWords(command)}`, success: 'good' };
    case 'REFUSED':
      return {
        words: `Refused after ${tookInWords(command)}${reason ? `: ${brief(reason, LONGEST_REASON)}` : ''}`,
        success: 'bad',
      };
    case 'MISMATCH':
      return { words: `The device reports otherwise, after ${tookInWords(command)}`, success: 'doubtful' };
    case 'TIMED_OUT': {
      const words = `Not answered within ${millisInWords(timeoutMs ?? 0)}`;
      return { words: delivery === 'NO_SUBSCRIBER' ? `${words}: nobody was listening` : words, success: 'bad' };
    }
    case 'EXPIRED':
      if (reason !== 'RESTART') return { words: 'Not sent: it could not go out in time', success: 'bad' };
      return delivery === null
        ? { words: 'Not sent: the gateway stopped', success: 'bad' }
        : { words: 'Sent, but the gateway stopped before an answer', success: 'doubtful' };
    case 'DENIED':
      return { words: `Not sent: ${DENIAL[reason ?? ''] ?? 'it was refused'}`, success: 'bad' };
  }
}

function deliveryInWords(delivery: Delivery | null): { words: string; success: Success } {
  if (delivery === 'ACKNOWLEDGED') return { words: 'Sent, and acknowledged', success: 'good' };
  if (delivery === 'NO_SUBSCRIBER') return { words: 'Sent, but nobody was listening', success: 'doubtful' };
  return { words: 'Sent, not acknowledged', success: 'open' };
}

/** What else there is to know of how a command went. */
export function remarksOn(command: Sent): string[] {
  const { answer, ambiguous } = command;
  const remarks: string[] = [];
  if (answer?.late) remarks.push(`Answered after all in ${tookInWords(command)}: ${brief(answer.payload, LONGEST_REASON)}`);
  if (ambiguous) remarks.push('Another command was on this topic too: the answer may be for that one');
  return remarks;
}

/** What a device reports otherwise than it was told. */
export function mismatchesInWords({ mismatches }: Pick<Sent, 'mismatches'>): string[] {
  const value = (json: string) => brief(json, LONGEST_VALUE);
  return mismatches.map(({ pointer, sent, reported }) => `${pointer} ${value(sent)} → ${value(reported)}`.trimStart());
}

/** From when it was accepted until it was answered. */
function tookInWords({ acceptedAt, answer, at }: Sent): string {
  return millisInWords(Date.parse(answer?.at ?? at) - Date.parse(acceptedAt));
}

function millisInWords(milliseconds: number): string {
  const ms = Math.max(0, milliseconds);
  return ms < 1_000 ? `${ms} ms` : `${Number((ms / 1_000).toFixed(1))} s`;
}

/** In characters: a card has room for `mmHg`, and not for a sentence. */
const LONGEST_UNIT = 8;
const NARROW_UNIT = 6;

export function number(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '–';
  const digits = Math.abs(value) < 100_000 ? value.toFixed(1) : value.toExponential(1).replace('e+', 'e');
  return digits === '-0.0' ? '0.0' : digits.replaceAll('-', '−');
}

export function unitOf(reading: Pick<MeasuredFragment, 'unit'> | null): string {
  return unitInWords(reading?.unit ?? 'C', NARROW_UNIT);
}

export function unitInWords(unit: string, longest = LONGEST_UNIT): string {
  return unit === 'C' || unit === 'F' ? `°${unit}` : brief(unit, longest);
}

/** What others say may be of any length; its beginning tells what it is. */
export function brief(said: string, longest: number): string {
  return said.length > longest ? `${said.slice(0, longest)}…` : said;
}

/** How long, in the two units that matter. */
export function span(milliseconds: number): string {
  const s = Math.max(0, Math.floor(milliseconds / 1_000));
  if (s < 60) return `${s} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor(s / 3_600) % 24} h`;
}

const TIME = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' });
const DAY = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
const DATE = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });

/** A moment: of the last day by the time, an earlier one also by its date. */
export function moment(at: number, now: number): string {
  return (Math.abs(now - at) < 86_400_000 / 2 ? TIME : DAY).format(at);
}

/** A moment, in full. */
export function inFull(at: number): string {
  return DATE.format(at);
}
