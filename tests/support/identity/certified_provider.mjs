// The certified npm package oidc-provider, for one client. Reads its settings as JSON from its first argument, prints its
// issuer once it listens.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const settings = JSON.parse(process.argv[2]);
const { Provider } = await import(pathToFileURL(createRequire(settings.modules + '/x.js').resolve('oidc-provider')));
const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: settings.client, client_secret: settings.secret, redirect_uris: [settings.redirect] }],
    pkce: { required: () => true },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
    features: { devInteractions: { enabled: true } },
    findAccount: (_, sub) => ({
      accountId: sub,
      claims: () => ({ sub, email: `${sub}@example.com`, email_verified: true, name: sub }),
    }),
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
