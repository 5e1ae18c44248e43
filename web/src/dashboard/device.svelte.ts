// A device as the page knows it, and the commands that it is sent from here.

import type {
  Action,
  Hazard,
  LinkedFragment,
  MeasuredFragment,
  Mode,
  StandingFragment,
  Status,
} from '../../generated/graphql';
import { newKey, Refusal, send, type Sent } from '../lib/commands';
import { Trend } from './trend';

export type Outcome = { action: Action } & (
  { kind: 'sending' } | { kind: 'sent'; record: Sent } | { kind: 'refused'; detail: string; code: string | null }
);

/** Another click so soon is the second half of a double click, or a key held down. */
const ONE_CLICK_MS = 700;
/** So long after no answer came, the same command is the same attempt: it may have gone out. */
const SAME_ATTEMPT_MS = 60_000;

const NEVER_HEARD: StandingFragment = {
  status: 'UNKNOWN',
  since: null,
  reason: null,
  lastMessageAt: null,
  clientId: null,
};

export class Device {
  readonly name: string;
  presence = $state.raw(NEVER_HEARD);
  latest = $state.raw<MeasuredFragment | null>(null);
  mode = $state<Mode>('AUTO');
  /** How it stands to its peer, if it has one. */
  link = $state.raw<LinkedFragment | null>(null);
  outcome = $state.raw<Outcome | null>(null);
  readonly trend = new Trend();
  /** Counts the changes of the trend. */
  revision = $state(0);
  /** As heard, shown or not yet. */
  latestSeq = 0;
  status: Status = 'UNKNOWN';
  hazard: Hazard = 'NONE';
  #clickedAt = -Infinity;
  #unanswered: { action: Action; key: string; at: number } | null = null;

  constructor(name: string) {
    this.name = name;
  }

  async order(action: Action): Promise<void> {
    const at = performance.now();
    if (this.outcome?.kind === 'sending' || at - this.#clickedAt < ONE_CLICK_MS) return;
    this.#clickedAt = at;
    this.outcome = { kind: 'sending', action };
    const before = this.#unanswered;
    const again = before?.action === action && at - before.at < SAME_ATTEMPT_MS;
    const key = again ? before.key : newKey();
    try {
      const record = await send(this.name, action, key);
      this.outcome = { kind: 'sent', action, record };
      this.#unanswered = null;
    } catch (why) {
      const { message, code } = why instanceof Refusal ? why : new Refusal(String(why), null);
      this.outcome = { kind: 'refused', action, detail: message, code };
      this.#unanswered = code === null ? { action, key, at } : null;
    }
  }

  /** The delivery of a command may rise after its state is final. */
  learn(record: Sent): void {
    const { outcome } = this;
    if (outcome?.kind !== 'sent' || outcome.record.id !== record.id || outcome.record.seq >= record.seq) return;
    this.outcome = { ...outcome, record };
  }
}
