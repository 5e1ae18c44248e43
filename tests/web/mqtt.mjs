// As much of MQTT 3.1.1 as a device needs to be heard.

import { connect } from 'node:net';
import { DEADLINE_MS } from './wait.mjs';

const [CONNECT, CONNACK, PUBLISH_QOS_1, PUBACK] = [0x10, 0x20, 0x32, 0x40];
const [SUBSCRIBE, SUBACK, DISCONNECT] = [0x82, 0x90, 0xe0];
const CLEAN_SESSION = 2;
const KEEPALIVE_S = 30;

/** Publishes messages with QoS 1, and returns when the gateway has acknowledged them all: they are in its journal. */
export async function publish(address, clientId, topic, ...payloads) {
  const said = payloads.map((payload, index) =>
    packet(PUBLISH_QOS_1, text(topic), word(index + 1), Buffer.from(payload)),
  );
  const acknowledged = payloads.map((_, index) => packet(PUBACK, word(index + 1)));
  const socket = await converse(address, clientId, topic, said, acknowledged);
  socket.end(packet(DISCONNECT));
}

/** Listens to a topic with QoS 0, and returns what ends that. */
export async function listen(address, clientId, topic) {
  const asked = packet(SUBSCRIBE, word(1), text(topic), [0]);
  const socket = await converse(address, clientId, topic, [asked], [packet(SUBACK, word(1), [0])]);
  socket.resume();
  return () => socket.end(packet(DISCONNECT));
}

/** Connects and says all of this; gives the connection once the gateway has answered as expected. */
function converse(address, clientId, topic, said, answers) {
  const [host, port] = address.split(':');
  const socket = connect(Number(port), host);
  socket.setTimeout(DEADLINE_MS, () => socket.destroy(new Error(`the gateway does not acknowledge ${topic}`)));
  socket.write(packet(CONNECT, text('MQTT'), [4, CLEAN_SESSION], word(KEEPALIVE_S), text(clientId)));
  said.forEach(one => socket.write(one));
  const expected = Buffer.concat([packet(CONNACK, [0, 0]), ...answers]);
  return new Promise((resolve, reject) => {
    let heard = Buffer.alloc(0);
    const fail = why => reject(why ?? new Error(`to ${topic} the gateway said ${heard.toString('hex')}`));
    socket.on('error', fail);
    socket.on('close', () => fail());
    socket.on('data', bytes => {
      heard = Buffer.concat([heard, bytes]);
      if (heard.length < expected.length) return;
      if (!heard.subarray(0, expected.length).equals(expected)) return socket.destroy();
      socket.setTimeout(0);
      socket.removeAllListeners('data');
      resolve(socket);
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
