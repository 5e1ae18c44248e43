// What is going on, kept up to date.
//
// One query tells how things stand, and the streams begin where its answer ends: readings, commands and rejections
// after the last one in it; presence and the cross-link begin with how they are, and do so again whenever the connection
// comes back, since of them only the present is shown. Services and what they say begin with how they are too, and go on
// from there. What a chart needs of the past is read meanwhile: all that the streams do not bring. So nothing is missing
// between then and now, and nothing is there twice.

import type { Client } from 'graphql-ws';
import {
  CatalogDocument,
  CommandsDocument,
  LinkDocument,
  OpeningDocument,
  PacesDocument,
  PastDocument,
  PresencesDocument,
  PresentDocument,
  ReadingsDocument,
  RejectionsDocument,
  ServicesDocument,
  SpokenDocument,
  type LinkedFragment,
  type MeasuredFragment,
  type OpeningQuery,
  type PresencesSubscription,
  type PresentQuery,
  type RefusedFragment,
  type SpokenFragment,
  type StandsFragment,
  type TypedDocumentString,
  type ToldFragment,
} from '../../generated/graphql';
import { ask, connect, listen } from '../lib/gateway';
import { clock } from './clock.svelte';
import { Device } from './device.svelte';
import { show } from './frame';
import { Services } from './services.svelte';
import { BEHIND_MS, SHORTEST_GAP_MS, WINDOW_MS, type Point } from './trend';
import { hazardInWords, presenceInWords } from './words';

export type Connection = { state: 'connecting' | 'live' | 'catching-up' } | { state: 'lost'; since: number };

/** More devices, or services, than anybody reads and a small machine draws; REST lists them all. */
export const CARDS = 200;
/** Commands and rejections that are shown. */
const ROWS = 20;
/** Whoever is further behind starts from the present instead of catching up. */
const TOO_FAR_BEHIND = 20_000;
/** Readings that are asked for at a time: more than there are, unless a device speaks very fast. */
const PAGE = 1_000;
/** Of so short a time a part will do: what is left out is no gap in a chart. */
const GLIMPSE_MS = SHORTEST_GAP_MS;
const GLIMPSE = 100;
/** Devices whose past is read at a time. */
const READERS = 3;
const TRY_AGAIN_MS = 1_000;
const RECALLED_AFTER_MS = 1_500;
/** Finds what no stream tells: a clock that was set, the mode of a device without a peer, how much was rejected. */
const CHECK_EVERY_MS = 30_000;
const SOON_MS = 300;
const SAID_AS_ONE_MS = 300;
const SAID_AT_ONCE = 4;

export class Live {
  connection = $state.raw<Connection>({ state: 'connecting' });
  /** The pair first, then the others by name. */
  devices = $state.raw<readonly Device[]>([]);
  readonly services = new Services();
  /** Newest first. */
  commands = $state.raw<readonly ToldFragment[]>([]);
  rejections = $state.raw<readonly RefusedFragment[]>([]);
  /** How many there were in all: of those that are alike only the first are kept. */
  rejected = $state(0);
  /** What happened, for those who listen to the page. */
  announcement = $state('');
  opened = $state(false);

  #client!: Client;
  #known = new Map<string, Device>();
  #streams: (() => void)[] = [];
  /** As heard: what is shown follows with the next frame. */
  #commands: readonly ToldFragment[] = [];
  #rejections: readonly RefusedFragment[] = [];
  /** The last of each that was heard. */
  #after = { readings: 0, commands: 0, rejections: 0 };
  /** The newest reading that there was when the connection came back. */
  #goal = 0;
  #connected = false;
  #begun = false;
  /** Counts connections and beginnings: what an earlier one has asked for is of no interest any more. */
  #turn = 0;
  #checking: ReturnType<typeof setTimeout> | null = null;
  #announcements: string[] = [];

  start(): void {
    this.#connect();
    setInterval(() => document.hidden || this.#checkSoon(), CHECK_EVERY_MS);
  }

  #connect(): void {
    this.#client = connect({
      connected: () => {
        this.#connected = true;
        this.#turn += 1;
        this.#goal = Infinity;
        if (this.connection.state === 'lost') this.#tell({ state: 'catching-up' });
        void this.#attempt(() => (this.#begun ? this.#check() : this.#begin()));
      },
      closed: () => this.#lost(),
      given_up: () => {
        this.#lost();
        this.#stop();
        setTimeout(() => this.#connect(), TRY_AGAIN_MS);
      },
    });
  }

  #lost(): void {
    this.#connected = false;
    this.#turn += 1;
    if (this.connection.state !== 'lost') this.#tell({ state: 'lost', since: clock.read() });
  }

  /** Does it until it succeeds, or the connection is lost or another beginning overtakes it. */
  async #attempt(act: () => Promise<void>): Promise<void> {
    const turn = this.#turn;
    while (turn === this.#turn) {
      try {
        return await act();
      } catch {
        await pause(TRY_AGAIN_MS);
      }
    }
  }

  // ── the present ─────────────────────────────────────────────────────────────────────────────────────

  /** Learns everything anew. */
  async #begin(): Promise<void> {
    const turn = this.#turn;
    const [{ data, date }, catalog] = await Promise.all([ask(OpeningDocument, {}), ask(CatalogDocument, {})]);
    if (turn !== this.#turn) return;
    this.#stop();
    clock.told(date);
    this.services.learn(catalog.data.kinds);
    this.services.clear();
    this.#known = new Map(data.devices.map(told => [told.name, knownAs(told)]));
    this.#after = {
      readings: newest(data.devices.map(({ latest }) => latest)),
      commands: newest(data.commands.nodes),
      rejections: newest(data.rejections.nodes),
    };
    this.#goal = this.#after.readings;
    this.devices = arranged(this.#known);
    this.commands = this.#commands = data.commands.nodes;
    for (const command of this.#commands) this.services.commanded(command);
    this.rejections = this.#rejections = data.rejections.nodes;
    this.rejected = sum(data.rejectionCounts);
    this.opened = this.#begun = true;
    this.#listen();
    this.#tell({ state: 'live' });
    void this.#remember(this.#after.readings);
    void this.#attempt(() => this.#recall());
  }

  #checkSoon(): void {
    this.#checking ??= setTimeout(async () => {
      if (this.#connected && this.#begun) await this.#attempt(() => this.#check());
      this.#checking = null;
    }, SOON_MS);
  }

  /** Finds out how far the gateway is ahead, and whether it is still the same journal. */
  async #check(): Promise<void> {
    const turn = this.#turn;
    const spoken = this.services.after.readings;
    const { data, date } = await ask(PresentDocument, {});
    if (turn !== this.#turn) return;
    clock.told(date);
    const head = newest(data.devices.map(({ latest }) => latest));
    const ahead = spoken === null ? 0 : newest(data.readings.nodes) - spoken;
    const behind = Math.max(head - this.#after.readings, ahead);
    if (behind > TOO_FAR_BEHIND || ahead < 0 || !this.#goesOn(data.devices)) return this.#begin();
    this.#goal = head;
    this.rejected = sum(data.rejectionCounts);
    for (const { name, mode, latest } of data.devices) {
      const device = this.#device(name);
      if (!device.link) device.mode = mode;
      if (latest) this.#shows(device, latest);
    }
    this.#tell({ state: this.#after.readings < this.#goal ? 'catching-up' : 'live' });
  }

  /** Whether what is known may have come from this journal. */
  #goesOn(devices: PresentQuery['devices']): boolean {
    const now = new Map(devices.map(device => [device.name, device]));
    return [...this.#known.values()].every(({ name, link, latest: before }) => {
      const device = now.get(name);
      if (!device || device.crossLink?.peer !== link?.peer) return false;
      const after = device.latest;
      // The list may have been made before what a stream has brought since.
      return !before || (after !== null && (after.seq !== before.seq || after.at === before.at));
    });
  }

  // ── streams ─────────────────────────────────────────────────────────────────────────────────────────

  #listen(): void {
    const { services } = this;
    const after = (what: 'readings' | 'commands' | 'rejections') => () => ({ after: this.#after[what] });
    this.#stream(ReadingsDocument, after('readings'), ({ sensors }) => this.#measured(sensors));
    this.#stream(CommandsDocument, after('commands'), ({ commands }) => this.#commanded(commands));
    this.#stream(RejectionsDocument, after('rejections'), ({ rejections }) => this.#rejected(rejections));
    this.#stream(ServicesDocument, () => ({ after: services.after.changes }), change => this.#told(change.services));
    this.#stream(
      SpokenDocument,
      () => ({ after: services.after.readings, current: services.after.readings === null }),
      ({ readings }) => this.#spoke(readings),
    );
    this.#stream(PresencesDocument, () => ({}), ({ presence }) => this.#appeared(presence));
    for (const { name, link } of this.#known.values()) {
      if (link) this.#stream(LinkDocument, () => ({ device: name }), ({ crossLink }) => this.#linked(crossLink));
    }
  }

  #stream<Data, Variables>(
    operation: TypedDocumentString<Data, Variables>,
    variables: () => Variables,
    next: (data: Data) => void,
  ): void {
    this.#streams.push(listen(this.#client, operation, variables, { next, ended: code => this.#ended(code) }));
  }

  /** `INVALID` says that the journal does not reach the place after which it was to go on: it is another one. */
  #ended(code: unknown): void {
    this.#stop();
    this.#turn += 1;
    if (!this.#connected) return;
    this.#tell({ state: 'catching-up' });
    setTimeout(() => this.#connected && void this.#attempt(() => this.#begin()), code === 'INVALID' ? 0 : TRY_AGAIN_MS);
  }

  #stop(): void {
    for (const stop of this.#streams.splice(0)) stop();
    this.#begun = false;
  }

  #measured(reading: MeasuredFragment): void {
    if (reading.seq <= this.#after.readings) return;
    this.#after.readings = reading.seq;
    const device = this.#device(reading.device);
    // A replayed message is history.
    if (reading.replayOf === null) {
      clock.heard(Date.parse(reading.at));
      this.#shows(device, reading);
    }
    device.trend.add(pointOf(reading), clock.read());
    show(`trend of ${device.name}`, () => (device.revision += 1));
    if (this.connection.state === 'catching-up' && reading.seq >= this.#goal) this.#tell({ state: 'live' });
  }

  #shows(device: Device, reading: MeasuredFragment): void {
    if (reading.seq <= device.latestSeq) return;
    device.latestSeq = reading.seq;
    show(`latest of ${device.name}`, () => (device.latest = reading));
  }

  #appeared(change: PresencesSubscription['presence']): void {
    const device = this.#device(change.device);
    if (this.opened && device.status !== change.status) this.#announce(`${device.name} is ${presenceInWords(change)}`);
    device.status = change.status;
    show(`presence of ${device.name}`, () => (device.presence = change));
  }

  #linked(link: LinkedFragment): void {
    const device = this.#device(link.device);
    if (device.hazard !== link.hazard && link.hazard === 'NONE') this.#announce(hazardInWords(link));
    device.hazard = link.hazard;
    show(`link of ${device.name}`, () => {
      device.link = link;
      device.mode = link.mode;
    });
  }

  #commanded(command: ToldFragment): void {
    if (command.seq <= this.#after.commands) return;
    this.#after.commands = command.seq;
    clock.heard(Date.parse(command.at));
    const others = this.#commands.filter(({ id }) => id !== command.id);
    this.#commands = [command, ...others].sort((a, b) => b.id - a.id).slice(0, ROWS);
    show('commands', () => (this.commands = this.#commands));
    this.services.commanded(command);
    const device = command.device && this.#known.get(command.device);
    if (!device) return;
    device.learn(command);
    if (!device.link) this.#checkSoon();
  }

  #rejected(rejection: RefusedFragment): void {
    if (rejection.seq <= this.#after.rejections) return;
    this.#after.rejections = rejection.seq;
    clock.heard(Date.parse(rejection.at));
    this.#rejections = [rejection, ...this.#rejections].slice(0, ROWS);
    show('rejections', () => (this.rejections = this.#rejections));
    this.#checkSoon();
  }

  #told(change: StandsFragment): void {
    const words = this.services.changed(change);
    if (words) this.#announce(words);
  }

  #spoke(reading: SpokenFragment): void {
    if (reading.replayOf === null) clock.heard(Date.parse(reading.at));
    this.services.heard(reading);
  }

  /** A device that is heard for the first time appears by itself. */
  #device(name: string): Device {
    const known = this.#known.get(name);
    if (known) return known;
    const device = new Device(name);
    this.#known.set(name, device);
    show('devices', () => (this.devices = arranged(this.#known)));
    return device;
  }

  // ── the past ────────────────────────────────────────────────────────────────────────────────────────

  /** Reads what the charts show of the time up to this place, the pair first. */
  async #remember(until: number): Promise<void> {
    const known = this.#known;
    const waiting = this.devices.slice(0, CARDS).filter(({ latest }) => latest !== null);
    const reader = async () => {
      for (let device = waiting.shift(); device; device = waiting.shift()) {
        while (known === this.#known) {
          try {
            await this.#read(device, until);
            break;
          } catch {
            await pause(TRY_AGAIN_MS);
          }
        }
      }
    };
    await Promise.all(Array.from({ length: READERS }, reader));
  }

  /** Reads how fast services spoke, by which it is seen that one is silent. By then the streams have told of them. */
  async #recall(): Promise<void> {
    const turn = this.#turn;
    await pause(RECALLED_AFTER_MS);
    // Of so many that is a lot to read: they show their pace from now on.
    if (turn !== this.#turn || this.services.list.length > CARDS) return;
    const { data } = await ask(PacesDocument, {});
    if (turn === this.#turn) this.services.recall(data.services);
  }

  async #read(device: Device, until: number): Promise<void> {
    const now = Math.ceil(clock.read());
    const points = await past(device.name, now - WINDOW_MS, now + BEHIND_MS);
    device.trend.remember(points.filter(({ seq }) => seq <= until), now);
    device.revision += 1;
  }

  // ── words ───────────────────────────────────────────────────────────────────────────────────────────

  #tell(connection: Connection): void {
    const before = this.connection.state;
    this.connection = connection;
    if (connection.state === 'lost') this.#announce('Connection lost. What is shown is the last known.');
    else if (connection.state === 'live' && before !== 'live' && before !== 'connecting') this.#announce('Live again');
  }

  /** What happens at once is said as one. */
  #announce(words: string): void {
    this.#announcements.push(words);
    if (this.#announcements.length > 1) return;
    setTimeout(() => {
      const said = this.#announcements.splice(0);
      const more = said.length - SAID_AT_ONCE;
      this.announcement = said.slice(0, SAID_AT_ONCE).join('. ') + (more > 0 ? `. And ${more} more` : '');
    }, SAID_AS_ONE_MS);
  }
}

function knownAs({ name, mode, presence, latest, crossLink }: OpeningQuery['devices'][number]): Device {
  const device = new Device(name);
  device.presence = presence;
  device.status = presence.status;
  device.latest = latest;
  device.latestSeq = latest?.seq ?? 0;
  device.link = crossLink;
  device.hazard = crossLink?.hazard ?? 'NONE';
  device.mode = mode;
  return device;
}

/** The readings of a span. Where there are too many for a page it is halved, until a part of them will do. */
async function past(device: string, from: number, to: number): Promise<Point[]> {
  const glimpse = to - from <= GLIMPSE_MS;
  const [start, end] = [new Date(from).toISOString(), new Date(to).toISOString()];
  const first = glimpse ? GLIMPSE : PAGE;
  const { data } = await ask(PastDocument, { device, from: start, to: end, first });
  const readings = data.device?.readings;
  if (!readings) return [];
  if (glimpse || !readings.pageInfo.hasNextPage) return readings.nodes.map(pointOf);
  const middle = Math.floor((from + to) / 2);
  return [...(await past(device, from, middle)), ...(await past(device, middle, to))];
}

function arranged(known: ReadonlyMap<string, Device>): Device[] {
  const byName = [...known.values()].sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  return [...byName.filter(({ link }) => link), ...byName.filter(({ link }) => !link)];
}

const newest = (items: readonly ({ seq: number } | null)[]) => Math.max(0, ...items.map(item => item?.seq ?? 0));
const sum = (items: readonly { count: number }[]) => items.reduce((all, { count }) => all + count, 0);
const pause = (milliseconds: number) => new Promise(resolve => setTimeout(resolve, milliseconds));

function pointOf({ seq, at, temperature, threshold }: Omit<Point, 'at'> & { at: string }): Point {
  return { seq, at: Date.parse(at), temperature, threshold };
}
