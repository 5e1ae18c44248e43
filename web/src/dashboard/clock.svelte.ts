// The gateway's clock. The browser's may differ by years: ages are taken by the one that the readings are dated by.

const TICK_MS = 1_000;
/** Further off than the network and a `Date` of whole seconds explain: a clock was set, or this machine slept. */
const JUMP_MS = 3_000;

class GatewayClock {
  /** In milliseconds, as of the last tick. */
  now = $state(Date.now());
  /** How far the gateway is ahead of this page's monotonic clock. */
  #ahead: number | null = null;

  constructor() {
    setInterval(() => this.tick(), TICK_MS);
  }

  /** Now, by the gateway. */
  read(): number {
    return this.#ahead === null ? Date.now() : performance.now() + this.#ahead;
  }

  tick(): void {
    this.now = this.read();
  }

  /** Something happened at this moment. Nothing arrives before it is sent, so the fastest message tells best. */
  heard(moment: number): void {
    if (!Number.isFinite(moment)) return;
    this.#ahead = Math.max(this.#ahead ?? -Infinity, moment - performance.now());
  }

  /** The gateway has just said what time it is, to the second. */
  told(moment: number): void {
    if (!Number.isFinite(moment)) return;
    const ahead = moment - performance.now();
    if (this.#ahead === null || Math.abs(ahead - this.#ahead) > JUMP_MS) this.#ahead = ahead;
    this.tick();
  }
}

export const clock = new GatewayClock();
