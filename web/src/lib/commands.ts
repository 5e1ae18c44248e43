// Commands by REST.

import type { Action, ToldFragment } from '../../generated/graphql';
import { ANSWER_WITHIN_MS } from './gateway';

/** What the page needs of the record. */
export type Sent = Pick<
  ToldFragment,
  | 'id'
  | 'seq'
  | 'acceptedAt'
  | 'at'
  | 'state'
  | 'delivery'
  | 'timeoutMs'
  | 'answer'
  | 'mismatches'
  | 'reason'
  | 'ambiguous'
>;

/** What waits to be executed. */
export type Armed = { token: string; expiresAt: number };

/** What is wrong with a payload, and where, by JSON pointer. */
export type Flaw = { pointer: string; detail: string };

/** The gateway's own words for what it refuses, or none of them when it did not answer. */
export class Refusal extends Error {
  readonly code: string | null;
  readonly flaws: readonly Flaw[];

  constructor(message: string, code: string | null, flaws: readonly Flaw[] = []) {
    super(message);
    this.code = code;
    this.flaws = flaws;
  }
}

/** The same key again returns the same record, and sends nothing. */
export function newKey(): string {
  // `randomUUID` is for secure origins alone, which a gateway in a plant is not.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');
}

export async function send(device: string, action: Action, key: string): Promise<Sent> {
  const path = `/api/v1/devices/${encodeURIComponent(device)}/commands`;
  return sentOf(await post(path, JSON.stringify({ action: action.toLowerCase() }), { 'idempotency-key': key }));
}

/** A topic of a service, and whether it is told something even if it is away. */
export type Whom = { firmware: string; service: string; suffix: string; offline: boolean };

/** Sends a payload, as it is, to a service. Its answer is not waited for: the streams tell of it. */
export async function tell(whom: Whom, payload: string, key: string): Promise<Sent> {
  return sentOf(await post(pathOf(whom, 'commands'), payload, { 'idempotency-key': key, prefer: 'respond-async' }));
}

/** Prepares what `execute` sends within a few seconds. */
export async function arm(whom: Whom, payload: string): Promise<Armed> {
  const { token, expires_at } = await post(pathOf(whom, 'arm'), payload, {});
  return { token, expiresAt: Date.parse(expires_at) };
}

export async function execute(token: string, key: string): Promise<Sent> {
  const headers = { 'idempotency-key': key, prefer: 'respond-async' };
  return sentOf(await post('/api/v1/commands/execute', JSON.stringify({ token }), headers));
}

function pathOf({ firmware, service, suffix, offline }: Whom, step: 'commands' | 'arm'): string {
  const levels = [firmware, service, step, ...suffix.split('/').slice(1)].map(encodeURIComponent);
  return `/api/v1/services/${levels.join('/')}${offline ? '?offline=allow' : ''}`;
}

async function post(path: string, body: string, headers: Record<string, string>) {
  let response: Response;
  try {
    response = await fetch(path, {
      method: 'POST',
      headers: { accept: 'application/json', 'content-type': 'application/json', ...headers },
      body,
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    });
  } catch {
    throw new Refusal('the gateway does not answer', null);
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) return answer;
  const { detail, title, code, flaws } = answer ?? {};
  throw new Refusal(detail ?? title ?? `the gateway answered ${response.status}`, code ?? String(response.status), flaws ?? []);
}

/** A record as REST writes it. What it leaves out is null. */
function sentOf({ id, seq, accepted_at, at, state, delivery, timeout_ms, answer, mismatches, reason, ambiguous }: any): Sent {
  return {
    id,
    seq,
    acceptedAt: accepted_at,
    at,
    state,
    delivery: delivery ?? null,
    timeoutMs: timeout_ms ?? null,
    answer: answer ?? null,
    mismatches: mismatches ?? [],
    reason: reason ?? null,
    ambiguous: ambiguous ?? false,
  };
}
