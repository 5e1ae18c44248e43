// JSON pointers (RFC 6901).

/** What stands at a JSON pointer, if anything does. */
export function at(raw: unknown, pointer: string): unknown {
  const names = pointer.split('/').slice(1).map(name => name.replaceAll('~1', '/').replaceAll('~0', '~'));
  return names.reduce<unknown>(
    (inner, name) => (typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>)[name] : undefined),
    raw,
  );
}

export const escaped = (name: string) => name.replaceAll('~', '~0').replaceAll('/', '~1');
