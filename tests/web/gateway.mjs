// The gateway itself, as its user starts it: by its command line, with a database of its own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DEADLINE_MS, within } from './wait.mjs';

/** What the log says of the doors, each with the address behind it. */
const DOORS = [
  ['mqtt', /INFO MQTT on (\S+)/],
  ['mqtt-ws', /INFO MQTT over WebSocket on ws:\/\/(\S+)/],
  ['http', /INFO dashboard on http:\/\/(\S+)/],
];

export class Gateway {
  #program;
  #folder;
  #process;
  #log;
  /** By door. Those that the first start has found free are kept. */
  #addresses = { mqtt: '127.0.0.1:0', 'mqtt-ws': '127.0.0.1:0', http: '127.0.0.1:0' };

  constructor(program, folder) {
    this.#program = program;
    this.#folder = folder;
    this.#log = createWriteStream(join(folder, 'gateway.log'));
    process.once('exit', () => this.#process?.kill('SIGKILL'));
    process.once('SIGTERM', () => process.exit(1));
  }

  get mqtt() {
    return this.#addresses.mqtt;
  }

  get origin() {
    return `http://${this.#addresses.http}`;
  }

  /** Starts it with the simulated pair, where it was before if it was anywhere. A door named in `closed` stays shut. */
  async start({ closed } = {}) {
    const open = DOORS.filter(([door]) => door !== closed);
    const args = ['--demo', '--database', `sqlite://${join(this.#folder, 'crosslink.db')}`];
    for (const [door] of DOORS) args.push(`--${door}`, door === closed ? 'off' : this.#addresses[door]);
    // What the surroundings say of another gateway is not meant for this one.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('CROSSLINK_')));
    const child = spawn(this.#program, args, { cwd: this.#folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = child;
    for (const output of [child.stdout, child.stderr]) output.pipe(this.#log, { end: false });
    const listening = new Promise((resolve, reject) => {
      const missing = new Map(open);
      const read = line => {
        for (const [door, pattern] of missing) {
          const address = pattern.exec(line)?.[1];
          if (!address) continue;
          this.#addresses[door] = address;
          missing.delete(door);
        }
        if (missing.size === 0) resolve();
      };
      for (const input of [child.stdout, child.stderr]) createInterface({ input }).on('line', read);
      child.once('error', reject);
      child.once('exit', () => reject(new Error(`the gateway ended before it listened: ${this.#log.path}`)));
    });
    await within(listening, 'the gateway listens');
  }

  /** Asks it to stop, and waits until it has. */
  async stop() {
    const child = this.#process;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    const [code] = await within(ended, 'the gateway has stopped');
    if (code !== 0) throw new Error(`the gateway ended with ${code}`);
  }

  /** What REST says at this path. */
  async ask(path) {
    const response = await fetch(this.origin + path, { signal: AbortSignal.timeout(DEADLINE_MS) });
    if (!response.ok) throw new Error(`${path} is answered with ${response.status}`);
    return response.json();
  }

  /** What GraphQL says. */
  async query(query) {
    const body = JSON.stringify({ query });
    const headers = { 'content-type': 'application/json' };
    const signal = AbortSignal.timeout(DEADLINE_MS);
    const response = await fetch(`${this.origin}/graphql`, { method: 'POST', headers, body, signal });
    const { data, errors } = await response.json();
    if (errors) throw new Error(errors[0].message);
    return data;
  }
}
