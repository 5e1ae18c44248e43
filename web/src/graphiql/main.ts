import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';

import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import { createClient } from 'graphql-ws';
import { createElement } from 'react';
import { createRoot } from 'react-dom/client';

const http = new URL('/graphql', location.href);
const ws = new URL(http);
ws.protocol = http.protocol.replace('http', 'ws');

const fetcher = createGraphiQLFetcher({
  url: http.href,
  wsClient: createClient({ url: ws.href, lazy: true }),
});

createRoot(document.getElementById('graphiql')!).render(createElement(GraphiQL, { fetcher }));
