// Two pages in one bundle: the dashboard and GraphiQL. Everything that they load is part of it.

import { svelte } from '@sveltejs/vite-plugin-svelte';
import fs from 'node:fs';
import path from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';
import { defineConfig } from 'vite';

/** Replaces every file of the bundle by its compressed form, which is what the gateway embeds and sends. */
const precompress = () => ({
  name: 'precompress',
  apply: 'build',
  writeBundle: {
    sequential: true,
    order: 'post',
    handler({ dir }) {
      for (const entry of fs.readdirSync(dir, { recursive: true, withFileTypes: true })) {
        const file = path.join(entry.parentPath, entry.name);
        if (!entry.isFile() || file.endsWith('.br')) continue;
        const content = fs.readFileSync(file);
        const params = {
          // 11 would save another 5 % and take twenty times as long.
          [constants.BROTLI_PARAM_QUALITY]: 9,
          [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
        };
        fs.writeFileSync(`${file}.br`, brotliCompressSync(content, { params }));
        fs.rmSync(file);
      }
    },
  },
});

/** A gateway that runs beside `npm run dev`. */
const GATEWAY = 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [svelte(), precompress()],
  build: {
    target: 'es2022',
    modulePreload: { polyfill: false },
    // Who distributes the bundle has to say whose work it is. `src/pages` knows the name.
    license: { fileName: 'assets/licenses.txt' },
    // The content security policies allow `data:` for pictures at most, and the dashboard's not even that.
    assetsInlineLimit: file => file.endsWith('.svg'),
    // Monaco is what it is.
    chunkSizeWarningLimit: 8192,
    rolldownOptions: {
      input: ['index.html', 'graphiql.html'],
      onwarn(warning, warn) {
        // Libraries say "use client", which is for servers that render.
        if (warning.code !== 'MODULE_LEVEL_DIRECTIVE') warn(warning);
      },
    },
  },
  worker: { format: 'es' },
  server: { proxy: { '/graphql': { target: GATEWAY, ws: true }, '/api': GATEWAY, '/favicon.svg': GATEWAY } },
});
