// All services, by what the streams tell of them, and the catalog, which says how to read what they say.

import type {
  CatalogQuery,
  PacesQuery,
  ServiceState,
  SpokenFragment,
  StandsFragment,
  ToldFragment,
} from '../../generated/graphql';
import { show } from './frame';
import { Order } from './order.svelte';
import { Service } from './service.svelte';
import { type Kind, kindOf } from './values';
import { standingInWords } from './words';

export class Services {
  /** By firmware and name. */
  list = $state.raw<readonly Service[]>([]);
  kinds = $state.raw<ReadonlyMap<string, Kind>>(new Map());
  /** The last of each that was heard. Null before the first, when a stream begins with the present. */
  after: { changes: number | null; readings: number | null } = { changes: null, readings: null };
  #known = new Map<string, Service>();
  /** By topic. What was sent from here was sent, and is kept when all else is learnt anew. */
  #orders = new Map<string, Order>();

  learn(kinds: CatalogQuery['kinds']): void {
    this.kinds = new Map(kinds.map(kind => [kind.name, kindOf(kind)]));
  }

  /** Forgets every service. */
  clear(): void {
    this.after = { changes: null, readings: null };
    this.#known.clear();
    this.#arrangeSoon();
  }

  /** Learns how fast each has spoken before. */
  recall(services: PacesQuery['services']): void {
    for (const { firmware, name, readings } of services) this.#known.get(`${firmware}/${name}`)?.recall(readings.nodes);
  }

  /** Returns what is worth saying of it, if anything is. */
  changed(change: StandsFragment): string | null {
    this.after.changes = Math.max(this.after.changes ?? 0, change.seq);
    const service = this.#service(change.firmware, change.service);
    const before = service.state;
    service.state = change.state;
    show(`standing of ${service.path}`, () => (service.standing = change));
    if (before === null) this.#arrangeSoon();
    return before !== null && before !== change.state && WORTH_SAYING[change.state]
      ? `${service.path}: ${standingInWords(change)}`
      : null;
  }

  heard(reading: SpokenFragment): void {
    this.after.readings = Math.max(this.after.readings ?? 0, reading.seq);
    const service = this.#service(reading.firmware, reading.service);
    const topic = service.said(reading.suffix);
    if (topic === null) return;
    const { said, isNew } = topic;
    // A replayed message is history, except where there is nothing else.
    if (reading.seq <= said.seq || (reading.replayOf !== null && said.seq > 0)) return;
    said.hear(reading);
    show(`${service.path} on ${said.suffix}`, () => said.show(reading));
    if (isNew) show(`topics of ${service.path}`, () => service.arrange());
  }

  /** What the page sends on a topic of a service. */
  order({ firmware, name }: Service, suffix: string): Order {
    const topic = `${firmware}/${name}${suffix}`;
    const before = this.#orders.get(topic);
    if (before) return before;
    const order = new Order(firmware, name, suffix);
    this.#orders.set(topic, order);
    return order;
  }

  commanded(command: ToldFragment): void {
    this.#orders.get(`${command.firmware}/${command.service}${command.suffix}`)?.learn(command);
  }

  #service(firmware: string, name: string): Service {
    const path = `${firmware}/${name}`;
    const known = this.#known.get(path);
    if (known) return known;
    const service = new Service(firmware, name);
    this.#known.set(path, service);
    return service;
  }

  #arrangeSoon(): void {
    show('services', () => {
      const told = [...this.#known.values()].filter(({ state }) => state !== null);
      this.list = told.sort((a, b) => compare(a.firmware, b.firmware) || compare(a.name, b.name));
    });
  }
}

const WORTH_SAYING: Record<ServiceState, boolean> = { UNKNOWN: false, AMBIGUOUS: false, INFERRED: true, PINNED: true };
const { compare } = new Intl.Collator('en', { numeric: true });
