// The gateway as the page sees it: a query, a command, and streams that stay open.
//
// Streams speak graphql-transport-ws. They reconnect for ever, and go on after the last seq they saw, so
// that nothing is missed while the network was away.

/** A gateway that restarts is back within seconds, and few pages look at it. */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 2_500;
/** A socket that says nothing for two beats is dead, even if it looks open. */
const BEAT_MS = 8_000;
const ANSWER_WITHIN_MS = 8_000;

/** Asks a GraphQL query. Returns the data, and when the gateway answered, by its own clock. */
export async function ask(query) {
  const { response, answer } = await call('/graphql', { query });
  if (!answer?.data || answer.errors) throw new Error(answer?.errors?.[0]?.message ?? refusal(response));
  return { data: answer.data, date: Date.parse(response.headers.get('date') ?? '') };
}

/** Sends a command by REST. Returns its record, or throws with what the gateway says. */
export async function command(device, action) {
  const { response, answer } = await call(`/api/v1/devices/${encodeURIComponent(device)}/commands`, { action });
  if (!response.ok) throw new Error(answer?.detail ?? answer?.title ?? refusal(response));
  return answer;
}

/** The last readings of a device by REST, oldest first. */
export async function readings(device, limit) {
  const { response, answer } = await call(`/api/v1/devices/${encodeURIComponent(device)}/readings?limit=${limit}`);
  if (!response.ok) throw new Error(refusal(response));
  return answer.items.reverse();
}

async function call(path, body) {
  const headers = { accept: 'application/json' };
  const request = { headers, signal: AbortSignal.timeout(ANSWER_WITHIN_MS) };
  if (body) {
    headers['content-type'] = 'application/json';
    Object.assign(request, { method: 'POST', body: JSON.stringify(body) });
  }
  let response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new Error('the gateway does not answer');
  }
  return { response, answer: await response.json().catch(() => null) };
}

const refusal = (response) => `the gateway answered ${response.status}`;

/**
 * Loads, then keeps the streams open, for ever. `streams()` lists them as `{query, device, after, take}`;
 * `told` learns the state of the connection: `connecting`, `live`, or `lost` with why and until when.
 */
export async function stayConnected({ load, streams, told }) {
  let wait = FIRST_WAIT_MS;
  for (;;) {
    told({ state: 'connecting' });
    const why = await load()
      .then(() => live(streams(), () => {
        wait = FIRST_WAIT_MS;
        told({ state: 'live' });
      }))
      .catch((error) => error.message);
    // Many pages must not come back in step when a gateway restarts.
    const pause = wait * (0.75 + Math.random() / 2);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    told({ state: 'lost', why, until: Date.now() + pause });
    await pauseOrWake(pause);
  }
}

/** Ends with an error when the connection does. */
function live(streams, opened) {
  return new Promise((_, reject) => {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}/graphql`, 'graphql-transport-ws');
    const say = (message) => socket.send(JSON.stringify(message));
    let waiting = false;
    const end = (why) => {
      clearInterval(beat);
      socket.onclose = socket.onmessage = null;
      socket.close();
      reject(new Error(why));
    };
    const beat = setInterval(() => {
      if (waiting) return end('the gateway has gone silent');
      waiting = true;
      if (socket.readyState === WebSocket.OPEN) say({ type: 'ping' });
    }, BEAT_MS);
    const heard = {
      connection_ack: () => {
        streams.forEach(({ query, device, after }, index) => {
          const variables = { after: after ?? null, ...(device && { device }) };
          say({ type: 'subscribe', id: String(index), payload: { query, variables } });
        });
        opened();
      },
      next: ({ id, payload }) => {
        if (payload.errors) return end(payload.errors[0].message);
        const [item] = Object.values(payload.data);
        const stream = streams[Number(id)];
        stream.after = item.seq;
        stream.take(item);
      },
      ping: () => say({ type: 'pong' }),
      error: ({ payload }) => end(payload[0].message),
      complete: () => end('the gateway ended a stream'),
    };
    socket.onopen = () => say({ type: 'connection_init' });
    socket.onclose = () => end('the connection to the gateway is closed');
    socket.onmessage = ({ data }) => {
      waiting = false;
      const message = JSON.parse(data);
      heard[message.type]?.(message);
    };
  });
}

/** Waits, but no longer than until the network or the reader is back. */
function pauseOrWake(pause) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      document.removeEventListener('visibilitychange', done);
      resolve();
    };
    const timer = setTimeout(done, pause);
    addEventListener('online', done);
    document.addEventListener('visibilitychange', done);
  });
}
