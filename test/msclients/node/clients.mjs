// Microsoft's clients for Node, as they are: they are told an authority and
// whom to trust. One JSON object a line comes in, one goes out; a person's part
// is asked for by a line with "ask".
import * as readline from 'node:readline';
import * as identity from '@azure/identity';
import * as msal from '@azure/msal-node';
import * as graph from '@microsoft/microsoft-graph-client';

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
async function next() {
  const line = await lines.next();
  return line.done ? null : JSON.parse(line.value);
}
function say(what) { process.stdout.write(JSON.stringify(what) + '\n'); }

// person has a person do something in a browser, and resolves with what came of it.
async function person(ask) { say({ ask }); return next(); }

const quiet = { loggerOptions: { loggerCallback() {}, piiLoggingEnabled: false } };

function confidential(p, credential) {
  return new msal.ConfidentialClientApplication({
    auth: { clientId: p.app, authority: `${p.authority}/${p.tenant}`, knownAuthorities: [new URL(p.authority).host], ...credential },
    system: quiet,
  });
}

function open(p) {
  return new msal.PublicClientApplication({
    auth: { clientId: p.publicApp, authority: `${p.authority}/${p.tenant}`, knownAuthorities: [new URL(p.authority).host] },
    system: quiet,
  });
}

function options(p) { return { authorityHost: p.authority, disableInstanceDiscovery: true }; }

const secretOf = (p) => ({ clientSecret: p.secret });
const certificateOf = (p) => ({ clientCertificate: { thumbprintSha256: p.thumbprint, privateKey: p.key } });

// code signs a person in by authorization code and PKCE.
async function code(p, app, redirectUri) {
  const { verifier, challenge } = await new msal.CryptoProvider().generatePkceCodes();
  const request = { scopes: [p.scope], redirectUri, state: 's' };
  const target = await app.getAuthCodeUrl({ ...request, codeChallenge: challenge, codeChallengeMethod: 'S256' });
  const led = await person({ open: target });
  return app.acquireTokenByCode({ ...request, codeVerifier: verifier, code: led.code });
}

const tenantOf = (result) => result.account?.tenantId ?? '';

const ways = {
  'msal: secret': async (p) => (await confidential(p, secretOf(p)).acquireTokenByClientCredential({ scopes: [p.scope] })).accessToken,
  'msal: certificate': async (p) => (await confidential(p, certificateOf(p)).acquireTokenByClientCredential({ scopes: [p.scope] })).accessToken,
  'msal: code with PKCE': async (p) => {
    const got = await code(p, confidential(p, secretOf(p)), p.redirect);
    if (tenantOf(got) !== p.tenant) throw new Error(`the ID token is of ${tenantOf(got)}`);
    return got.accessToken;
  },
  'msal: code with PKCE and a certificate': async (p) => (await code(p, confidential(p, certificateOf(p)), p.redirect)).accessToken,
  'msal: interactive': async (p) => (await open(p).acquireTokenInteractive({
    scopes: [p.scope],
    openBrowser: async (target) => { await person({ open: target, follow: true }); },
  })).accessToken,
  'msal: device code': async (p) => (await open(p).acquireTokenByDeviceCode({
    scopes: [p.scope],
    deviceCodeCallback: (d) => { person({ device: d.verificationUri, code: d.userCode }); },
  })).accessToken,
  'identity: secret': async (p) => (await new identity.ClientSecretCredential(p.tenant, p.app, p.secret, options(p)).getToken(p.scope)).token,
  'identity: certificate': async (p) => (await new identity.ClientCertificateCredential(p.tenant, p.app, { certificate: p.certificate + p.key }, options(p)).getToken(p.scope)).token,
  'identity: device code': async (p) => (await new identity.DeviceCodeCredential({
    ...options(p), tenantId: p.tenant, clientId: p.publicApp,
    userPromptCallback: (d) => { person({ device: d.verificationUri, code: d.userCode }); },
  }).getToken(p.scope)).token,
  // It opens the browser itself: the one that BROWSER names.
  'identity: interactive': async (p) => (await new identity.InteractiveBrowserCredential({ ...options(p), tenantId: p.tenant, clientId: p.publicApp }).getToken(p.scope)).token,
  'identity: code': async (p) => {
    const led = await person({ open: `${p.authority}/${p.tenant}/oauth2/v2.0/authorize?client_id=${p.app}&response_type=code&state=s&redirect_uri=${encodeURIComponent(p.redirect)}&scope=${encodeURIComponent(`${p.scope} offline_access openid`)}` });
    return (await new identity.AuthorizationCodeCredential(p.tenant, p.app, p.secret, led.code, p.redirect, options(p)).getToken(p.scope)).token;
  },
};

// renew signs a person in and has MSAL renew the token so many times. MSAL takes
// from its cache what has five minutes left: the authority gives less.
async function renew(p) {
  const app = confidential(p, secretOf(p));
  const first = await code(p, app, p.redirect);
  const tokens = [first.accessToken];
  for (let i = 0; i < p.times; i++) {
    tokens.push((await app.acquireTokenSilent({ account: first.account, scopes: [p.scope] })).accessToken);
  }
  await person({ revoke: true });
  let refused = '';
  try { await app.acquireTokenSilent({ account: first.account, scopes: [p.scope] }); } catch (e) { refused = String(e.message ?? e); }
  return { tokens, refused };
}

// alerts pages through alerts_v2 with Graph's own client and iterator.
async function alerts(p) {
  const credential = new identity.ClientSecretCredential(p.tenant, p.app, p.secret, options(p));
  const client = graph.Client.initWithMiddleware({
    authProvider: { getAccessToken: async () => (await credential.getToken(p.scope)).token },
    baseUrl: p.graph,
    customHosts: new Set([new URL(p.graph).hostname]),
  });
  const first = await client.api('/security/alerts_v2').filter("createdDateTime ge 2000-01-01T00:00:00Z and severity ne 'unknown'").orderby('createdDateTime desc').top(p.top).get();
  const ids = [], tenants = new Set();
  const pages = new graph.PageIterator(client, first, (alert) => { ids.push(alert.id); tenants.add(alert.tenantId); return true; });
  await pages.iterate();
  const one = await client.api(`/security/alerts_v2/${encodeURIComponent(ids[0])}`).get();
  return { ids, tenants: [...tenants], one: one.id };
}

say({ ready: process.version });
for (let p = await next(); p; p = await next()) {
  try {
    if (p.do === 'token') say({ token: await ways[p.way](p) });
    else if (p.do === 'renew') say(await renew(p));
    else if (p.do === 'alerts') say(await alerts(p));
    else if (p.do === 'ways') say({ ways: Object.keys(ways) });
    else say({ error: `what is ${p.do}?` });
  } catch (e) {
    say({ error: String(e?.message ?? e), kind: e?.name ?? '', code: e?.errorCode ?? e?.code ?? '', status: e?.statusCode ?? 0, numbers: e?.errorResponse?.errorCodes ?? e?.errorCodes ?? [] });
  }
}
