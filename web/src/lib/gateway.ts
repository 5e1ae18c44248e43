// The gateway as a page sees it: operations with their types, and streams over one connection that comes back.

import { createClient, type Client, type EventListener, type Sink } from 'graphql-ws';
import type { TypedDocumentString } from '../../generated/graphql';

type Operation<Data, Variables> = TypedDocumentString<Data, Variables>;
type Answer<Data> = { data?: Data | null; errors?: readonly Problem[] };
type Problem = { message: string; extensions?: Record<string, unknown> };

export const ANSWER_WITHIN_MS = 8_000;
/** A connection that says nothing for so long after a ping is dead, even if it looks open. */
const PONG_WITHIN_MS = 4_000;
const PING_EVERY_MS = 8_000;
/** A gateway that restarts is back within seconds, and few pages look at it. */
const WAITS_MS = [200, 400, 800, 1_500];
const LONGEST_WAIT_MS = 2_500;

/** Asks once. `date` is when the gateway answered by its own clock, to the second. */
export async function ask<Data, Variables>(operation: Operation<Data, Variables>, variables: Variables) {
  const response = await fetch('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: operation.toString(), variables }),
    signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
  });
  const { data, errors } = (await response.json()) as Answer<Data>;
  if (!data || errors) throw new Error(errors?.[0]?.message ?? `the gateway answered ${response.status}`);
  return { data, date: Date.parse(response.headers.get('date') ?? '') };
}

export type Stream<Data> = {
  next(data: Data): void;
  /** The stream has ended, with the code of what went wrong if the gateway said one. */
  ended(code?: unknown): void;
};

/**
 * Listens until the returned function is called. Whenever the connection comes back the stream is asked for anew,
 * with the variables as they are then.
 */
export function listen<Data, Variables>(
  client: Client,
  operation: Operation<Data, Variables>,
  variables: () => Variables,
  stream: Stream<Data>,
): () => void {
  const payload = {
    query: operation.toString(),
    get variables() {
      return variables() as Record<string, unknown>;
    },
  };
  let open = true;
  const end = (why?: unknown) => {
    if (!open) return;
    open = false;
    close();
    stream.ended(Array.isArray(why) ? (why as Problem[])[0]?.extensions?.code : undefined);
  };
  const sink: Sink<Answer<Data>> = {
    next({ data, errors }) {
      if (!open) return;
      if (errors || !data) end(errors);
      else stream.next(data);
    },
    error: end,
    complete: end,
  };
  const close = client.subscribe(payload, sink as Sink<never>);
  return () => {
    open = false;
    close();
  };
}

/** Connects, again and again, and tells when the connection is there and when it is not. */
export function connect(on: { connected: EventListener<'connected'>; closed(): void; given_up(): void }): Client {
  const url = new URL('/graphql', location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  let late: ReturnType<typeof setTimeout>;
  const client = createClient({
    url: url.href,
    lazy: false,
    keepAlive: PING_EVERY_MS,
    connectionAckWaitTimeout: ANSWER_WITHIN_MS,
    retryAttempts: Infinity,
    shouldRetry: () => true,
    retryWait: retries => pauseOrWake((WAITS_MS[retries] ?? LONGEST_WAIT_MS) * (0.75 + Math.random() / 2)),
    onNonLazyError: on.given_up,
    on: {
      connected: on.connected,
      closed() {
        clearTimeout(late);
        on.closed();
      },
      ping(received) {
        if (!received) late = setTimeout(() => client.terminate(), PONG_WITHIN_MS);
      },
      // Whatever comes shows that the connection lives: a pong waits behind what there is to say.
      message: () => clearTimeout(late),
    },
  });
  return client;
}

/** Waits, but no longer than until the network or the reader is back. */
function pauseOrWake(pause: number): Promise<void> {
  return new Promise(resolve => {
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
