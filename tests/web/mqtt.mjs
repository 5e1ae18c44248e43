// As much of MQTT 3.1.1 as a device needs to be heard.

import { connect } from 'node:net';
import { DEADLINE_MS } from './wait.mjs';

const [CONNECT, CONNACK, PUBLISH_QOS_1, PUBACK, DISCONNECT] = [0x10, 0x20, 0x32, 0x40, 0xe0];
const CLEAN_SESSION = 2;
const KEEPALIVE_S = 30;

/** Publishes messages with QoS 1, and returns when the gateway has acknowledged them all: they are in its journal. */
export function publish(address, clientId, topic, ...payloads) {
  const [host, port] = address.split(':');
  const socket = connect(Number(port), host);
  socket.setTimeout(DEADLINE_MS, () => socket.destroy(new Error(`the gateway does not acknowledge ${topic}`)));
  socket.write(packet(CONNECT, text('MQTT'), [4, CLEAN_SESSION], word(KEEPALIVE_S), text(clientId)));
  payloads.forEach((payload, index) => {
    socket.write(packet(PUBLISH_QOS_1, text(topic), word(index + 1), Buffer.from(payload)));
  });
  const acknowledged = payloads.map((_, index) => packet(PUBACK, word(index + 1)));
  const expected = Buffer.concat([packet(CONNACK, [0, 0]), ...acknowledged]);
  return new Promise((resolve, reject) => {
    let said = Buffer.alloc(0);
    const fail = why => reject(why ?? new Error(`to ${topic} the gateway said ${said.toString('hex')}`));
    socket.on('error', fail);
    socket.on('close', () => fail());
    socket.on('data', bytes => {
      said = Buffer.concat([said, bytes]);
      if (said.length < expected.length) return;
      if (said.equals(expected)) resolve();
      socket.end(packet(DISCONNECT));
    });
  });
}

function packet(kind, ...parts) {
  const body = Buffer.concat(parts.map(part => Buffer.from(part)));
  const length = [];
  let rest = body.length;
  for (; rest > 127; rest >>= 7) length.push((rest & 127) | 128);
  length.push(rest);
  return Buffer.concat([Buffer.from([kind, ...length]), body]);
}

function text(words) {
  const bytes = Buffer.from(words);
  return Buffer.concat([word(bytes.length), bytes]);
}

function word(number) {
  return Buffer.from([number >> 8, number & 255]);
}
