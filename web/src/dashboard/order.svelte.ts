// What this page sends on a topic of a service, from the click to the end of the command.

import { arm, execute, newKey, Refusal, type Sent, tell, type Whom } from '../lib/commands';
import { clock } from './clock.svelte';

export type Phase =
  | { is: 'nothing' }
  /** The gateway has not answered yet. */
  | { is: 'asking'; step: Step }
  | { is: 'armed'; token: string; payload: string }
  /** It was armed and not executed in time. */
  | { is: 'lapsed' }
  | { is: 'sent'; record: Sent }
  | { is: 'refused'; step: Step; refusal: Refusal };

type Step = 'send' | 'arm' | 'execute';

/** Another click so soon is the second half of a double click, or a key held down. */
const ONE_CLICK_MS = 700;
/** So long after no answer came, the same command is the same attempt: it may have gone out. */
const SAME_ATTEMPT_MS = 60_000;
/** For how long the gateway keeps a command armed. */
const ARMED_FOR_MS = 10_000;
const COUNT_EVERY_MS = 200;

export class Order {
  phase = $state.raw<Phase>({ is: 'nothing' });
  /** How long it stays armed, in seconds. */
  left = $state(0);
  /** Whether the gateway takes what is sent here only in two steps. */
  insists = $state(false);
  /** The last payload that went out from here. */
  sent: unknown = undefined;
  readonly #place: Omit<Whom, 'offline'>;
  #clickedAt = -Infinity;
  /** What is being armed is no longer what the form shows. */
  #recanted = false;
  #counting: ReturnType<typeof setInterval> | undefined;
  /** What the streams told of commands on this topic while the gateway's answer was awaited. */
  #early: Sent[] = [];
  #unanswered: { payload: string; key: string; at: number } | null = null;

  constructor(firmware: string, service: string, suffix: string) {
    this.#place = { firmware, service, suffix };
  }

  /** Whether the gateway or the device is to speak now: there is one command at a time on a topic. */
  get busy(): boolean {
    const { phase } = this;
    return phase.is === 'asking' || (phase.is === 'sent' && isUnderWay(phase.record));
  }

  async send(payload: string, offline: boolean): Promise<void> {
    if (!this.#click()) return;
    await this.#goes('send', payload, key => tell({ ...this.#place, offline }, payload, key));
  }

  /** Prepares what `execute` sends. Nothing goes out yet. */
  async arm(payload: string, offline: boolean): Promise<void> {
    if (!this.#click()) return;
    this.phase = { is: 'asking', step: 'arm' };
    this.#recanted = false;
    try {
      const { token, expiresAt } = await arm({ ...this.#place, offline }, payload);
      if (this.#recanted) return this.#stand({ is: 'nothing' });
      const end = performance.now() + Math.min(ARMED_FOR_MS, expiresAt - clock.read());
      this.phase = { is: 'armed', token, payload };
      this.#count(end);
    } catch (why) {
      this.#refused('arm', why);
    }
  }

  async execute(): Promise<void> {
    if (this.phase.is !== 'armed' || !this.#click()) return;
    const { token, payload } = this.phase;
    await this.#goes('execute', payload, key => execute(token, key));
  }

  /** Takes back what is armed, and forgets what the gateway said: it was of another payload. */
  recant(): void {
    if (this.phase.is === 'asking' && this.phase.step === 'arm') this.#recanted = true;
    if (this.phase.is !== 'asking' && this.phase.is !== 'sent') this.#stand({ is: 'nothing' });
  }

  /** As `recant`, and forgets also how the last command ended. */
  forget(): void {
    if (this.phase.is === 'sent' && !this.busy) this.#stand({ is: 'nothing' });
    this.recant();
  }

  /** Somebody's command on this topic has come further. */
  learn(record: Sent): void {
    if (this.phase.is === 'asking') this.#early.push(record);
    if (this.phase.is === 'sent' && isNews(record, this.phase.record)) this.phase = { is: 'sent', record };
  }

  async #goes(step: 'send' | 'execute', payload: string, ask: (key: string) => Promise<Sent>): Promise<void> {
    const at = performance.now();
    const before = this.#unanswered;
    const again = before?.payload === payload && at - before.at < SAME_ATTEMPT_MS;
    const key = again ? before.key : newKey();
    this.#early = [];
    this.#stand({ is: 'asking', step });
    try {
      const answer = await ask(key);
      const record = this.#early.reduce((last, early) => (isNews(early, last) ? early : last), answer);
      this.phase = { is: 'sent', record };
      this.sent = JSON.parse(payload);
      this.#unanswered = null;
    } catch (why) {
      const { code } = this.#refused(step, why);
      this.#unanswered = code === null ? { payload, key, at } : null;
    }
  }

  #refused(step: Step, why: unknown): Refusal {
    const refusal = why instanceof Refusal ? why : new Refusal(String(why), null);
    if (refusal.code === 'ARMING_REQUIRED') this.insists = true;
    this.#stand({ is: 'refused', step, refusal });
    return refusal;
  }

  #stand(phase: Phase): void {
    clearInterval(this.#counting);
    this.phase = phase;
  }

  #count(end: number): void {
    const tick = () => {
      this.left = Math.max(0, Math.ceil((end - performance.now()) / 1_000));
      if (this.left === 0) this.#stand({ is: 'lapsed' });
    };
    clearInterval(this.#counting);
    this.#counting = setInterval(tick, COUNT_EVERY_MS);
    tick();
  }

  #click(): boolean {
    const at = performance.now();
    if (this.busy || at - this.#clickedAt < ONE_CLICK_MS) return false;
    this.#clickedAt = at;
    return true;
  }
}

const isUnderWay = ({ state }: Sent) => state === 'ACCEPTED' || state === 'PUBLISHED';
const isNews = (record: Sent, before: Sent) => record.id === before.id && record.seq > before.seq;
