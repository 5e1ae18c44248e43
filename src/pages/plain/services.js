// The services, their kinds and what they said last, asked for again and again.

import { ask } from './gateway.js';

const SERVICES = `{ services {
  firmware name state kind { name } candidates lastMessageAt latest { suffix raw }
} }`;
const ASKED_EVERY_MS = 5_000;
/** More than anybody reads. */
const ROWS = 200;
const TOPICS = 4;
/** In characters, of a topic and its payload. */
const LONGEST = 160;

const table = document.getElementById('services');

function kindInWords({ state, kind, candidates }) {
  return {
    UNKNOWN: 'has not spoken yet',
    AMBIGUOUS: `one of ${candidates.join(', ')}`,
    INFERRED: kind?.name,
    PINNED: `${kind?.name}, pinned`,
  }[state];
}

function saidInWords(latest) {
  const said = latest.slice(0, TOPICS).map(({ suffix, raw }) => brief(`${suffix} ${JSON.stringify(raw)}`.trim()));
  if (latest.length > TOPICS) said.push(`and ${latest.length - TOPICS} more`);
  return said.join('\n');
}

const brief = (text) => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);

function row(service) {
  const line = document.createElement('tr');
  const { firmware, name, latest, lastMessageAt } = service;
  const at = lastMessageAt ? new Date(lastMessageAt).toLocaleTimeString('en-GB') : 'never';
  for (const words of [`${firmware}/${name}`, kindInWords(service), saidInWords(latest), at]) {
    line.insertCell().textContent = words;
  }
  return line;
}

async function paint() {
  const { services } = (await ask(SERVICES)).data;
  const more = services.length - ROWS;
  table.tBodies[0].replaceChildren(...services.slice(0, ROWS).map(row));
  table.caption.textContent = more > 0 ? `Services, and ${more} more` : 'Services';
  table.parentElement.hidden = services.length === 0;
}

async function paintForEver() {
  // Whether the gateway answers at all, the page says elsewhere.
  if (!document.hidden) await paint().catch(() => null);
  setTimeout(paintForEver, ASKED_EVERY_MS);
}

paintForEver();
