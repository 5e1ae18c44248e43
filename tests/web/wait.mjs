// Facts are waited for, never slept for.

import { setTimeout as pause } from 'node:timers/promises';

/** Long for a machine that does other things as well; nothing here takes a tenth of it by itself. */
export const DEADLINE_MS = 20_000;
const AGAIN_MS = 50;

/** The promise, but not for ever. */
export async function within(promise, what) {
  const end = new AbortController();
  const late = pause(DEADLINE_MS, null, { signal: end.signal }).then(
    () => Promise.reject(new Error(`not within ${DEADLINE_MS / 1000} s: ${what}`)),
    () => null,
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    end.abort();
  }
}

/** Probes until the answer satisfies, and returns it. */
export async function until(what, probe, satisfies = Boolean) {
  const end = performance.now() + DEADLINE_MS;
  for (;;) {
    const answer = await probe();
    if (satisfies(answer)) return answer;
    if (performance.now() > end) {
      throw new Error(`not within ${DEADLINE_MS / 1000} s: ${what}; the last answer was ${JSON.stringify(answer)}`);
    }
    await pause(AGAIN_MS);
  }
}
