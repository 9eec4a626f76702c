// The official A2A client for JavaScript (`npm ci` in this folder).
//
// Asks the gateway at argv[2] by the binding at argv[3] and prints what it saw, as JSON; the credential is
// in `TEST_TOKEN`.

import { randomUUID } from "node:crypto";
import {
  ClientFactory,
  ClientFactoryOptions,
  DefaultAgentCardResolver,
  JsonRpcTransportFactory,
  RestTransportFactory,
} from "@a2a-js/sdk/client";

const GOVERNANCE = "urn:mc-platform:a2a:governance:1";
const [url, binding] = process.argv.slice(2);

function authorized(input, init = {}) {
  const headers = new Headers(init.headers);
  headers.set("Authorization", `Bearer ${process.env.TEST_TOKEN}`);
  return fetch(input, { ...init, headers });
}

function request(text, { messageId = randomUUID(), governance } = {}) {
  const message = {
    messageId,
    role: 1,
    parts: [{ content: { $case: "text", value: text } }],
    metadata: governance && { [GOVERNANCE]: governance },
  };
  return { message };
}

async function refused(work) {
  try {
    await work;
  } catch (error) {
    return error.message;
  }
  return null;
}

const transports = { JSONRPC: JsonRpcTransportFactory, "HTTP+JSON": RestTransportFactory };
const factory = new ClientFactory(
  ClientFactoryOptions.createFrom(ClientFactoryOptions.default, {
    transports: [new transports[binding]({ fetchImpl: authorized })],
    preferredTransports: [binding],
    cardResolver: new DefaultAgentCardResolver({ fetchImpl: authorized }),
  }),
);
const client = await factory.createFromUrl(url);
const sent = await client.sendMessage(request("status of order O-2001?"));
const again = await client.getTask({ id: sent.id });
const streamed = [];
for await (const event of client.sendMessageStream(request("status of order O-2002?"))) streamed.push(event);
const used = randomUUID();
await client.sendMessage(request("status of order O-2003?", { messageId: used }));
console.log(
  JSON.stringify({
    sent,
    again,
    streamed,
    denied: await refused(client.sendMessage(request("hello", { governance: { purpose: "marketing" } }))),
    conflict: await refused(client.sendMessage(request("another", { messageId: used }))),
    absent: await refused(client.getTask({ id: "nope" })),
  }),
);
