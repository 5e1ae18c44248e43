// Scalar over the document that the page names, from this gateway alone: no fonts, proxies or services of others.

// Scalar's validator tries whether it may compile code, which the policy forbids, unless it is told before it loads.
globalThis.__zod_globalConfig = { jitless: true };

const docs = document.getElementById('docs');

for (const link of document.querySelectorAll('nav a')) {
  if (link.pathname === location.pathname) link.setAttribute('aria-current', 'page');
}

addEventListener('DOMContentLoaded', () => {
  Scalar.createApiReference(docs, {
    url: docs.dataset.document,
    withDefaultFonts: false,
    telemetry: false,
    hideClientButton: true,
    showDeveloperTools: 'never',
    agent: { disabled: true },
    mcp: { disabled: true },
  });
});
