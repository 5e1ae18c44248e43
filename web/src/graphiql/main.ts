// GraphiQL on this gateway: everything by the same origin, subscriptions on one WebSocket.

import 'graphiql/setup-workers/vite';
// Without `graphiql/style.css`, whose fonts would be a sixth of the whole bundle.
import '@graphiql/react/style.css';
import '@graphiql/plugin-doc-explorer/style.css';
import '@graphiql/plugin-history/style.css';
import 'graphiql/graphiql.css';
import './style.css';

import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import { parse } from 'graphql';
import { createClient } from 'graphql-ws';
import { createElement as element } from 'react';
import { createRoot } from 'react-dom/client';

import source from './examples.graphql?raw';

/** Each operation with the comment above it. */
function operations(source: string): string[] {
  let begin = 0;
  return parse(source).definitions.map(({ loc }) => source.slice(begin, (begin = loc!.end)).trim());
}

const http = new URL('/graphql', location.href);
const socket = new URL(http);
socket.protocol = http.protocol.replace('http', 'ws');

/** A link may bring an operation. */
const brought = new URLSearchParams(location.search).get('query') ?? undefined;
const examples = operations(source).map(query => ({ query }));

const links = element(
  'nav',
  { 'aria-label': 'Pages' },
  element('a', { href: '/' }, 'Crosslink'),
  element('a', { href: '/api/docs' }, 'REST'),
  element('a', { href: '/mqtt/docs' }, 'MQTT'),
);

createRoot(document.getElementById('graphiql')!).render(
  element(
    GraphiQL,
    {
      fetcher: createGraphiQLFetcher({ url: http.href, wsClient: createClient({ url: socket.href }) }),
      initialQuery: brought,
      // Whoever was here before finds the tabs as they were left.
      defaultTabs: brought ? [{ query: brought }, ...examples] : examples,
      defaultEditorToolsVisibility: false,
    },
    element(GraphiQL.Logo, null, links),
  ),
);
