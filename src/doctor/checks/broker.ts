import { createServer } from 'node:net';
import { type BrokerProbe, type BrokerProbeOptions, probeBroker } from '../../alerts/broker-probe.js';
import { brokerPassword, readPem } from '../../alerts/credentials.js';
import { errno } from '../../types/errors.js';
import type { DoctorContext } from '../context.js';
import { error, type Finding, fromError, ok, warning } from '../finding.js';

const CHECK = 'broker';
const DAY_MS = 86_400_000;
const LONGEST_SECONDS = 45;
/** A certificate that ends sooner needs somebody's attention. */
const CERTIFICATE_DAYS = 14;

export type Probe = (options: BrokerProbeOptions) => Promise<BrokerProbe>;

/** The broker: a real connection with what the configuration says, its TLS certificate, and the right to listen for commands. */
export async function checkBroker(
  { config }: Pick<DoctorContext, 'config'>,
  probe: Probe = probeBroker,
  nowMs = Date.now(),
): Promise<Finding[]> {
  const { mqtt, embeddedBroker } = config;
  if (mqtt.url === undefined) return [await checkPort(embeddedBroker.host, embeddedBroker.port)];
  const findings: Finding[] = [];
  let found: BrokerProbe;
  try {
    const source = brokerPassword({ ...mqtt, url: mqtt.url });
    if (source.unused !== undefined) findings.push(fromError(CHECK, source.unused, 'warning'));
    const password = source.password?.();
    found = await probe({
      url: mqtt.url,
      protocolVersion: mqtt.protocolVersion,
      // A check that takes longer says only that it did.
      timeoutMs: Math.min(mqtt.connectTimeoutSeconds, LONGEST_SECONDS) * 1000,
      filters: [`${config.topicPrefix}/${config.device.id}/+/+/set`],
      ...(mqtt.username !== undefined && { username: mqtt.username }),
      ...(password !== undefined && { password }),
      ...(mqtt.ca !== undefined && { ca: await readPem(mqtt.ca, 'mqtt.ca in the configuration') }),
      ...(mqtt.cert !== undefined && { cert: await readPem(mqtt.cert, 'mqtt.cert in the configuration') }),
      ...(mqtt.key !== undefined && { key: await readPem(mqtt.key, 'mqtt.key in the configuration') }),
    });
  } catch (cause) {
    // Alerts wait for it, for ever: what is wrong may pass.
    return [...findings, fromError(CHECK, cause)];
  }
  const { broker, connectMs, pingMs, tls, subscriptionRefused } = found;
  const how = tls === undefined ? 'without TLS' : `${tls.protocol}, certificate of ${tls.subject}`;
  findings.push(
    ok(
      CHECK,
      'BROKER',
      `${broker} takes the connection (${how}; ${connectMs.toFixed(0)} ms, a ping ${pingMs.toFixed(1)} ms); nothing was published`,
      { broker, connectMs, pingMs, ...(tls !== undefined && { tls }) },
    ),
  );
  if (subscriptionRefused !== undefined) findings.push(fromError(CHECK, subscriptionRefused, 'warning'));
  const daysLeft = tls === undefined ? Number.NaN : (tls.validUntilMs - nowMs) / DAY_MS;
  if (daysLeft < CERTIFICATE_DAYS) {
    findings.push(
      warning(
        CHECK,
        'BROKER_CERTIFICATE_ENDS',
        `the broker's certificate (${tls!.subject}) ends in ${Math.floor(daysLeft)} days`,
        'renew it on the broker',
        { daysLeft },
      ),
    );
  }
  return findings;
}

/** The embedded broker needs its port. */
async function checkPort(host: string, port: number): Promise<Finding> {
  const place = `${host}:${port}`;
  const code = await new Promise<string | undefined>((resolve) => {
    const server = createServer();
    server.once('error', (cause) => resolve(errno(cause) ?? cause.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
  if (code === undefined) {
    return ok(CHECK, 'EMBEDDED_BROKER_PORT', `no broker is configured; the embedded one can listen on ${place}`);
  }
  if (code === 'EADDRINUSE') {
    return warning(
      CHECK,
      'PORT_IN_USE',
      `no broker is configured, and something listens on ${place} already`,
      `if that is not a running irst-edge: set mqtt.url to mqtt://${place} to use it, or embeddedBroker.port to another one`,
    );
  }
  const forbidden = code === 'EACCES';
  return error(
    CHECK,
    forbidden ? 'PORT_FORBIDDEN' : 'BAD_LISTEN_ADDRESS',
    `the embedded broker cannot listen on ${place}: ${code}`,
    forbidden
      ? 'choose embeddedBroker.port above 1023'
      : 'set embeddedBroker.host to an address of this machine, such as 127.0.0.1',
  );
}
