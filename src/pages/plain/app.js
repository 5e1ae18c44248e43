// The live page: who is there, what was measured, and what the pair does to each other.
//
// What is known is kept in `devices`; streams change it, and what changed is painted before the next frame.

import { ask, command, readings, stayConnected } from './gateway.js';
import { sparkline } from './sparkline.js';

const READING = 'seq at device temperature humidity threshold overThreshold unit';
const PRESENCE = 'status since reason lastMessageAt clientId';
const CROSS_LINK = 'seq device peer mode expectedPlaying hazard';
const DEVICES = `{ devices {
  name mode presence { ${PRESENCE} } latest { ${READING} } crossLink { ${CROSS_LINK} peerReadingAgeMs }
} }`;
const SENSORS_STREAM = `subscription($after: Seq) { sensors(after: $after) { ${READING} } }`;
const PRESENCE_STREAM = `subscription($after: Seq) { presence(after: $after) { seq at device session ${PRESENCE} } }`;
const CROSS_LINK_STREAM = `subscription($device: String!, $after: Seq) {
  crossLink(device: $device, after: $after) { at ${CROSS_LINK} }
}`;

/** How far back the trend reaches, and how many readings of it are asked for at first. */
const TREND_MS = 5 * 60_000;
const TREND_READINGS = 120;
/** Whoever was away for longer starts from the present instead of catching up. */
const TOO_FAR_BEHIND = 5_000;
const SAID_AS_ONE_MS = 200;
/** In characters: a card has room for `mmHg`, and not for a sentence. */
const LONGEST_UNIT = 6;

const STATUS = { ONLINE: 'Online', STALE: 'Stale', OFFLINE: 'Offline', UNKNOWN: 'Unknown' };
const REASON = {
  ANNOUNCED: 'it said online',
  READING: 'it sent a reading',
  TAKEOVER: 'it took over its old session',
  SILENCE: 'it has gone silent',
  RESTART: 'the gateway started anew',
  WILL: 'connection lost, will published',
  KEEPALIVE: 'silent beyond its keepalive',
  CLOSED: 'its connection was closed',
  SOCKET_ERROR: 'its connection broke',
  SELF_REPORTED: 'it said offline itself',
};
const MODE_OF = { play: 'FORCED_ON', stop: 'FORCED_OFF', resume: 'AUTO' };
const STATE = {
  ACCEPTED: 'accepted, not yet published',
  PUBLISHED: 'published',
  UNCONFIRMABLE: 'published',
  EXPIRED: 'expired before it was published',
};
const DELIVERY = {
  NO_SUBSCRIBER: 'but nobody was listening',
  SENT: 'sent, not acknowledged yet',
  ACKNOWLEDGED: 'acknowledged',
};
const MARK = {
  full: 'M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2Z',
  half: 'M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2ZM8 4v8a4 4 0 0 0 0-8Z',
  hollow: 'M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2ZM8 4.2a3.8 3.8 0 1 1 0 7.6a3.8 3.8 0 1 1 0-7.6Z',
  dots: 'M3 6.5a1.5 1.5 0 1 0 0 3a1.5 1.5 0 1 0 0-3ZM8 6.5a1.5 1.5 0 1 0 0 3a1.5 1.5 0 1 0 0-3ZM13 6.5a1.5 1.5 0 1 0 0 3a1.5 1.5 0 1 0 0-3Z',
  up: 'M8 3l6 10H2Z',
  down: 'M8 13L2 3h12Z',
  alarm: 'M8 1l7.5 13.5H.5ZM7.1 6v4.2h1.8V6ZM7.1 11.4v1.7h1.8v-1.7Z',
  tick: 'M6.4 13L1.8 8.4l1.5-1.5 3.1 3.1 6.3-6.6 1.5 1.5Z',
};
const STATUS_MARK = { ONLINE: 'full', STALE: 'half', OFFLINE: 'hollow', UNKNOWN: 'dots' };
const CONNECTION_MARK = { live: 'full', connecting: 'dots', lost: 'hollow' };

/** By name: `{name, presence, latest, mode, crossLink, readings, outcome, card, flow}`. */
const devices = new Map();
let streams = [];
/** What is not said yet. */
const announcements = [];
let connection = { state: 'connecting' };
/** How far this clock is ahead of the gateway's. */
let skew = Infinity;

// ── what is known ───────────────────────────────────────────────────────────────────────────────────

async function load() {
  const { data, date } = await ask(DEVICES);
  skew = Infinity;
  heardAt(date);
  const head = Math.max(0, ...data.devices.flatMap((d) => [d.latest?.seq ?? 0, d.crossLink?.seq ?? 0]));
  const seen = Math.max(0, ...streams.map(({ after }) => after ?? 0));
  // A place that the journal has not reached belongs to another database.
  if (streams.length === 0 || seen > head || head - seen > TOO_FAR_BEHIND) begin(data.devices);
  for (const { name, presence, latest, mode, crossLink } of data.devices) {
    Object.assign(device(name), { presence, latest, mode, crossLink });
  }
  for (const known of devices.values()) if (known.latest && !known.readings.length) remember(known);
  arrange();
}

/** Forgets everything, and starts the streams at the present. */
function begin(present) {
  devices.clear();
  const newest = Math.max(0, ...present.map(({ latest }) => latest?.seq ?? 0));
  const paired = present.filter(({ crossLink }) => crossLink).map(({ name }) => name);
  streams = [
    { query: SENSORS_STREAM, after: newest, take: measured },
    { query: PRESENCE_STREAM, take: appeared },
    ...paired.map((name) => ({ query: CROSS_LINK_STREAM, device: name, take: linked })),
  ];
}

/** What the trend shows of the time before this page was opened. */
async function remember(known) {
  const before = await readings(known.name, TREND_READINGS).catch(() => []);
  const trend = before.map(({ seq, at, temperature, threshold }) => ({ seq, at, temperature, threshold }));
  const newest = trend.at(-1)?.seq ?? 0;
  known.readings = [...trend, ...known.readings.filter(({ seq }) => seq > newest)];
  changed(known);
}

function measured(reading) {
  heardAt(Date.parse(reading.at));
  const known = device(reading.device);
  if (known.latest && known.latest.seq >= reading.seq) return;
  known.latest = reading;
  known.readings.push(reading);
  changed(known);
}

function appeared(change) {
  heardAt(Date.parse(change.at));
  const known = device(change.device);
  if (known.presence.status !== change.status) {
    announce(`${known.name} is ${STATUS[change.status].toLowerCase()}: ${REASON[change.reason] ?? 'no reason known'}`);
  }
  known.presence = change;
  changed(known);
}

function linked(crossLink) {
  const known = device(crossLink.device);
  if (known.crossLink?.hazard !== crossLink.hazard) {
    announce(crossLink.hazard === 'NONE' ? `${known.name}: no hazard any more` : hazard(crossLink));
  }
  Object.assign(known, { crossLink, mode: crossLink.mode });
  changed(known);
}

function device(name) {
  let known = devices.get(name);
  if (!known) {
    known = { name, presence: { status: 'UNKNOWN' }, mode: 'AUTO', readings: [] };
    devices.set(name, known);
    if (streams.length) changed(known, true);
  }
  return known;
}

/** Nothing arrives before it is sent, so the fastest message tells the difference of the clocks best. */
function heardAt(moment) {
  if (Number.isFinite(moment)) skew = Math.min(skew, Date.now() - moment);
}

const now = () => Date.now() - (Number.isFinite(skew) ? skew : 0);

// ── commands ────────────────────────────────────────────────────────────────────────────────────────

async function order(known, action) {
  if (known.busy) return;
  Object.assign(known, { busy: true, outcome: { text: `${action}: on its way` } });
  changed(known);
  try {
    const { state, delivery } = await command(known.name, action);
    const words = [STATE[state] ?? state, delivery && (DELIVERY[delivery] ?? delivery)].filter(Boolean);
    known.outcome = { text: `${action}: ${words.join(', ')}`, codes: [state, delivery].filter(Boolean).join(' · ') };
    // Only the cross-link tells a mode live.
    if (!known.crossLink) known.mode = MODE_OF[action];
  } catch (error) {
    known.outcome = { text: `${action} failed: ${error.message}`, failed: true };
  }
  known.busy = false;
  changed(known);
}

// ── painting ────────────────────────────────────────────────────────────────────────────────────────

const dirty = new Set();
let rearrange = false;
let frame = 0;

function changed(known, isNew = false) {
  dirty.add(known);
  rearrange ||= isNew;
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    if (rearrange) return arrange();
    // A peer's reading is the cause of what a device does.
    for (const one of dirty) if (devices.has(one.crossLink?.peer)) paint(devices.get(one.crossLink.peer));
    dirty.forEach(paint);
    dirty.clear();
    showWhetherEmpty();
  });
}

/** Puts a card for each device in its place: the pair with what flows between, then the others. */
function arrange() {
  rearrange = false;
  dirty.clear();
  const all = [...devices.values()];
  const pair = all.filter(({ crossLink }) => crossLink);
  const others = all.filter(({ crossLink }) => !crossLink).sort((a, b) => a.name.localeCompare(b.name));
  for (const known of all) known.card ??= newCard(known);
  for (const known of pair) known.flow ??= clone('flow');
  const between = document.createElement('div');
  between.className = 'between';
  between.append(...pair.map(({ flow }) => flow).reverse());
  byId('pair').replaceChildren(...(pair.length === 2 ? [pair[0].card, between, pair[1].card] : pair.map(({ card }) => card)));
  byId('others').replaceChildren(...others.map(({ card }) => card));
  byId('others').hidden = others.length === 0;
  all.forEach(paint);
  showWhetherEmpty();
}

function showWhetherEmpty() {
  const silent = [...devices.values()].every(({ presence, latest }) => !latest && !presence.lastMessageAt && !presence.since);
  byId('empty').hidden = !silent;
  byId('pair').hidden = silent || ![...devices.values()].some(({ crossLink }) => crossLink);
}

function newCard(known) {
  const card = clone('card');
  card.querySelector('.actions').setAttribute('aria-label', `Commands for ${known.name}`);
  for (const button of card.querySelectorAll('button')) {
    button.addEventListener('click', () => order(known, button.dataset.action));
  }
  return card;
}

function paint(known) {
  const { name, presence, latest, mode, crossLink, card, outcome } = known;
  if (!card) return;
  card.dataset.status = presence.status;
  card.classList.toggle('alone', !crossLink);
  mark(card, '.status', STATUS_MARK[presence.status]);
  text(card, {
    name,
    status: STATUS[presence.status] ?? presence.status,
    reason: REASON[presence.reason] ?? presence.reason ?? 'it has not spoken yet',
    client: presence.clientId ?? 'none',
    temperature: number(latest?.temperature),
    humidity: number(latest?.humidity),
    threshold: number(latest?.threshold),
    unit: unit(latest),
    side: latest ? (latest.overThreshold ? 'over threshold' : 'under threshold') : 'no reading yet',
    playing: playing(mode, crossLink),
    mode: modeInWords(mode, crossLink),
    hazard: crossLink ? hazard(crossLink) : '',
    outcome: outcome?.text ?? 'No command was sent from this page',
    codes: outcome?.codes ?? '',
  });
  card.querySelector('.values').dataset.side = latest ? (latest.overThreshold ? 'over' : 'under') : 'none';
  mark(card, '.side', latest ? (latest.overThreshold ? 'up' : 'down') : 'dots');
  card.querySelector('.hazard').dataset.hazard = crossLink?.hazard ?? 'NONE';
  mark(card, '.hazard', (crossLink?.hazard ?? 'NONE') === 'NONE' ? 'tick' : 'alarm');
  card.querySelector('.outcome').classList.toggle('failed', outcome?.failed === true);
  card.querySelector('.outcome').classList.toggle('none', !outcome);
  for (const button of card.querySelectorAll('button')) {
    button.setAttribute('aria-disabled', String(known.busy === true));
    button.setAttribute('aria-current', String(MODE_OF[button.dataset.action] === mode));
  }
  paintTrend(known);
  paintFlow(known);
  paintTimes(known);
}

function paintTrend(known) {
  const to = now();
  known.readings = known.readings.filter(({ at }) => to - Date.parse(at) < TREND_MS);
  const svg = known.card.querySelector('.trend svg');
  const temperatures = known.readings.map(({ temperature }) => temperature);
  svg.classList.toggle('empty', temperatures.length < 2);
  const range = `${number(Math.min(...temperatures))} to ${number(Math.max(...temperatures))} ${unit(known.latest)}`;
  const words = ['No reading in the last 5 min', 'One reading in the last 5 min'][temperatures.length] ?? `Last 5 min: ${range}`;
  text(known.card, { trend: words });
  svg.setAttribute('aria-label', words);
  if (temperatures.length >= 2) sparkline(svg, known.readings, to - TREND_MS, to);
}

/** What flows from the peer to the device. */
function paintFlow({ name, mode, crossLink, flow }) {
  if (!flow || !crossLink) return;
  const reading = devices.get(crossLink.peer)?.latest;
  const causes = {
    AUTO: reading ? (reading.overThreshold ? 'is over threshold' : 'is under threshold') : 'has sent no reading',
    FORCED_ON: 'has no say',
    FORCED_OFF: 'has no say',
    UNKNOWN: 'may have no say',
  };
  flow.dataset.flow = mode !== 'AUTO' ? 'cut' : crossLink.expectedPlaying ? 'on' : 'off';
  const effects = { AUTO: crossLink.expectedPlaying ? 'plays' : 'is silent', FORCED_ON: 'plays, forced on', FORCED_OFF: 'is silent, forced off' };
  text(flow, {
    from: crossLink.peer,
    to: name,
    cause: `${crossLink.peer} ${causes[mode]}`,
    effect: `${name} ${effects[mode] ?? 'may play'}`,
  });
}

/** What changes by itself, once a second. */
function paintTimes({ presence, latest, card }) {
  if (!card) return;
  text(card, {
    since: presence.since ? `${clock(presence.since)}, for ${span(now() - Date.parse(presence.since))}` : 'not known',
    age: latest ? `${span(now() - Date.parse(latest.at))} ago` : '',
  });
}

function paintConnection() {
  const { state, settled, why, until } = connection;
  byId('connection').dataset.state = document.body.dataset.connection = settled ?? state;
  mark(document, '#connection', CONNECTION_MARK[state]);
  const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
  const lastKnown = devices.size ? ' Values are the last known.' : '';
  const words = {
    live: 'Live',
    connecting: settled ? `Not live: connecting again.${lastKnown}` : 'Connecting',
    lost: `Not live: ${why}.${lastKnown} Next try in ${seconds} s`,
  };
  text(byId('connection'), { connection: words[state] });
}

/** Attempts that fail are one loss: it is said once, and looks the same while the next one runs. */
function told(next) {
  const { settled } = connection;
  connection = { ...next, settled: next.state === 'connecting' ? settled : next.state };
  if (connection.settled !== settled && (settled || next.state === 'lost')) {
    announce(next.state === 'live' ? 'Live again' : `Not live: ${next.why}`);
  }
  paintConnection();
}

// ── words ───────────────────────────────────────────────────────────────────────────────────────────

function modeInWords(mode, crossLink) {
  return {
    AUTO: crossLink ? `auto: follows ${crossLink.peer}` : 'auto',
    FORCED_ON: 'forced on',
    FORCED_OFF: 'forced off',
    UNKNOWN: 'unknown: it reconnected, and may have lost its override',
  }[mode] ?? mode;
}

function playing(mode, crossLink) {
  const expected = crossLink ? crossLink.expectedPlaying : { FORCED_ON: true, FORCED_OFF: false }[mode];
  return { true: 'should be playing', false: 'should be silent' }[expected] ?? 'not known';
}

function hazard({ device: name, peer, hazard: kind }) {
  return {
    NONE: 'No hazard',
    PEER_STALE: `${peer} is silent: ${name} acts on an old reading`,
    PEER_LOST_LATCHED_ON: `${peer} was lost over threshold: ${name} may play for ever`,
  }[kind] ?? kind;
}

function number(value) {
  if (!Number.isFinite(value)) return '–';
  return Math.abs(value) < 100_000 ? value.toFixed(1).replace(/^-0\.0$/, '0.0') : value.toExponential(1).replace('e+', 'e');
}

function unit(reading) {
  const said = reading?.unit ?? 'C';
  if (/^[CF]$/.test(said)) return `°${said}`;
  return said.length > LONGEST_UNIT ? `${said.slice(0, LONGEST_UNIT)}…` : said;
}

/** A time of this day by the clock; an earlier one with its date. */
function clock(at) {
  const moment = new Date(at);
  const today = now() - moment < 86_400_000;
  return moment.toLocaleString('en-GB', today ? { timeStyle: 'medium' } : { dateStyle: 'medium', timeStyle: 'short' });
}

function span(milliseconds) {
  const s = Math.max(0, Math.floor(milliseconds / 1000));
  const two = (value) => String(value).padStart(2, '0');
  if (s < 60) return `${s} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${two(Math.floor(s / 60) % 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor(s / 3_600) % 24} h`;
}

// ── elements ────────────────────────────────────────────────────────────────────────────────────────

const byId = (id) => document.getElementById(id);
const clone = (id) => byId(id).content.firstElementChild.cloneNode(true);

function text(root, values) {
  for (const element of root.querySelectorAll('[data-text]')) {
    const value = values[element.dataset.text];
    if (value !== undefined && element.textContent !== value) element.textContent = value;
  }
}

function mark(root, selector, name) {
  root.querySelector(`${selector} .mark path`).setAttribute('d', MARK[name] ?? MARK.dots);
}

/** Says it to those who listen to the page. What happens at once is said as one. */
function announce(words) {
  announcements.push(words);
  if (announcements.length > 1) return;
  setTimeout(() => {
    byId('announcement').textContent = announcements.join('. ');
    announcements.length = 0;
  }, SAID_AS_ONE_MS);
}

paintConnection();
setInterval(() => {
  devices.forEach(paintTimes);
  paintConnection();
}, 1_000);
stayConnected({ load, streams: () => streams, told });
