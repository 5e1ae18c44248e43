// A command by REST.

import type { Action, CommandState, Delivery } from '../../generated/graphql';
import { ANSWER_WITHIN_MS } from './gateway';

/** What the page needs of the record. */
export type Sent = { id: number; seq: number; state: CommandState; delivery: Delivery | null };

/** The gateway's own words for what it refuses, or none of them when it did not answer. */
export class Refusal extends Error {
  readonly code: string | null;

  constructor(message: string, code: string | null) {
    super(message);
    this.code = code;
  }
}

/** The same key again returns the same record, and sends nothing. */
export function newKey(): string {
  // `randomUUID` is for secure origins alone, which a gateway in a plant is not.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');
}

export async function send(device: string, action: Action, key: string): Promise<Sent> {
  let response: Response;
  try {
    response = await fetch(`/api/v1/devices/${encodeURIComponent(device)}/commands`, {
      method: 'POST',
      headers: { accept: 'application/json', 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify({ action: action.toLowerCase() }),
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    });
  } catch {
    throw new Refusal('the gateway does not answer', null);
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) return { ...answer, delivery: answer.delivery ?? null };
  const { detail, title, code } = answer ?? {};
  throw new Refusal(detail ?? title ?? `the gateway answered ${response.status}`, code ?? String(response.status));
}
