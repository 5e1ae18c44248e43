// Changes are shown together, at most once a frame and not faster than they can be read. Of what changes more often only
// the last is shown, so that a burst costs no more than its end, and a hidden page has next to nothing to do.

const PAUSE_MS = 120;
const HIDDEN_PAUSE_MS = 1_000;

const work = new Map<string, () => void>();
let waiting = false;
let shownAt = 0;

/** Shows a change before long. Another one of the same name takes its place. */
export function show(name: string, change: () => void): void {
  work.set(name, change);
  if (waiting) return;
  waiting = true;
  if (document.hidden) setTimeout(flush, HIDDEN_PAUSE_MS);
  else setTimeout(() => requestAnimationFrame(flush), Math.max(0, shownAt + PAUSE_MS - performance.now()));
}

function flush(): void {
  waiting = false;
  shownAt = performance.now();
  const changes = [...work.values()];
  work.clear();
  for (const change of changes) change();
}

// A frame that was asked for is not drawn while the page is hidden.
document.addEventListener('visibilitychange', flush);
