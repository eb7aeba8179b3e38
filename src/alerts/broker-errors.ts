import { EdgeError, EXIT, errno } from '../types/errors.js';

/** Why a broker refused, for people; MQTT 3.1.1 CONNACK return codes 1 to 5 and the MQTT 5 reason codes in use. */
const REASONS: Record<number, { text: string; hint: string }> = {
  1: { text: 'it does not speak this protocol version', hint: 'Set protocolVersion to 4 (MQTT 3.1.1).' },
  2: { text: 'it does not accept the client id', hint: 'Set another clientId.' },
  3: { text: 'it is not available', hint: 'It is tried again.' },
  4: { text: 'wrong user name or password', hint: 'Correct the user name and password for the broker.' },
  5: {
    text: 'not authorised',
    hint: 'Check the user name and password, and what the broker allows this user and client id.',
  },
  128: { text: 'unspecified error', hint: "See the broker's log." },
  129: { text: 'malformed packet', hint: "See the broker's log." },
  130: { text: 'protocol error', hint: "See the broker's log." },
  131: { text: 'implementation-specific error', hint: "See the broker's log." },
  132: { text: 'it does not speak this protocol version', hint: 'Set protocolVersion to 4 (MQTT 3.1.1).' },
  133: { text: 'it does not accept the client id', hint: 'Set another clientId.' },
  134: { text: 'wrong user name or password', hint: 'Correct the user name and password for the broker.' },
  135: {
    text: 'not authorised',
    hint: 'Check the user name and password, and what the broker allows this user and client id.',
  },
  136: { text: 'it is not available', hint: 'It is tried again.' },
  137: { text: 'it is busy', hint: 'It is tried again.' },
  138: { text: 'this client is banned', hint: 'Lift the ban on the broker.' },
  139: { text: 'it is shutting down', hint: 'It is tried again.' },
  140: { text: 'bad authentication method', hint: 'Use a user name and password, or a client certificate.' },
  141: { text: 'keep-alive ran out', hint: 'The link or this machine was too slow; it is tried again.' },
  142: {
    text: 'another client took over the client id',
    hint: 'Give each device its own name (or clientId): two with the same one throw each other out.',
  },
  144: { text: 'it does not accept the topic', hint: 'Check the topic prefix and what the broker allows.' },
  147: { text: 'too many messages in flight', hint: "See the broker's log." },
  149: { text: 'packet too large', hint: "Raise the broker's limit on packets (mosquitto: max_packet_size)." },
  150: { text: 'messages come too fast', hint: "Raise the broker's limit on the message rate." },
  151: { text: 'quota exceeded', hint: "Raise the broker's quota." },
  152: { text: 'administrative action', hint: "Ask the broker's operator." },
  153: { text: 'payload format invalid', hint: "See the broker's log." },
  154: {
    text: 'it does not keep retained messages',
    hint: 'Allow retained messages on the broker: status needs them.',
  },
  155: { text: 'it does not support the QoS', hint: 'Allow QoS 1 on the broker: status needs it.' },
  156: { text: 'it asks to use another server', hint: 'Set the other server as the broker URL.' },
  157: { text: 'it has moved', hint: 'Set the new server as the broker URL.' },
  159: { text: 'connections come too fast', hint: 'It is tried again.' },
  160: { text: 'maximum connect time reached', hint: 'It is tried again.' },
};

export function reasonText(code: number): string {
  return REASONS[code]?.text ?? `reason code ${code}`;
}

function reasonHint(code: number): string {
  return REASONS[code]?.hint ?? "See the broker's log.";
}

/** The broker answered CONNECT with an error. */
export function refusedError(broker: string, code: number): EdgeError {
  return new EdgeError(
    'BROKER_REFUSED',
    `broker ${broker} refused the connection: ${reasonText(code)} (code ${code})`,
    {
      hint: reasonHint(code),
      exitCode: EXIT.unavailable,
    },
  );
}

/** The broker ended the connection with an MQTT 5 DISCONNECT. */
export function disconnectError(broker: string, code: number): EdgeError {
  return new EdgeError('BROKER_LOST', `broker ${broker} ended the connection: ${reasonText(code)} (code ${code})`, {
    hint: reasonHint(code),
    exitCode: EXIT.unavailable,
  });
}

/** The broker did not take one message (PUBACK with an error). */
export function messageRefusedError(broker: string, topic: string, code: number): EdgeError {
  return new EdgeError(
    'BROKER_REFUSED_MESSAGE',
    `broker ${broker} refused a message on ${topic}: ${reasonText(code)} (code ${code})`,
    { hint: reasonHint(code), exitCode: EXIT.unavailable },
  );
}

/** The broker did not take a subscription (SUBACK with an error). */
export function subscriptionRefusedError(broker: string, filters: string, code: number): EdgeError {
  return new EdgeError(
    'BROKER_REFUSED_SUBSCRIPTION',
    `broker ${broker} refused the subscription to ${filters}: ${reasonText(code)} (code ${code}); no commands`,
    { hint: reasonHint(code), exitCode: EXIT.unavailable },
  );
}

/** mqtt.js threw before it connected: it reads ca, cert and key then. */
export function badTlsFiles(broker: string, cause: unknown): EdgeError {
  const code = errno(cause);
  return new EdgeError('BROKER_TLS', `no connection to broker ${broker}: ${code ?? 'ca, cert or key cannot be used'}`, {
    hint: 'Check that ca, cert and key are PEM files and that the key belongs to the certificate.',
    exitCode: EXIT.config,
    cause,
  });
}

/** Reason code of an mqtt.js error, if it carries one: mqtt.js puts it in `code`, where Node has strings. */
export function reasonCode(error: unknown): number | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'number' ? code : undefined;
}

const UNREACHABLE: Record<string, string> = {
  ECONNREFUSED: 'connection refused: nothing listens there',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'name lookup failed',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
  ENETDOWN: 'the network is down',
  ETIMEDOUT: 'timed out',
  EADDRNOTAVAIL: 'no usable address',
};

/**
 * Turns what mqtt.js reports when a connection fails or ends into one line with a code and a hint. The texts are built
 * from `broker` (already free of secrets) and error codes, never from foreign messages that might repeat a URL.
 *
 * @param connected whether the connection had been established
 */
export function connectionError(broker: string, error: unknown, connected: boolean): EdgeError {
  const options = { exitCode: EXIT.unavailable, cause: error };
  const message = error instanceof Error ? error.message : '';
  const code = errno(error);
  if (message === 'connack timeout') {
    return new EdgeError('BROKER_TIMEOUT', `broker ${broker} did not answer the connection in time`, {
      ...options,
      hint: 'Is this the port of an MQTT broker, and mqtts where it wants TLS?',
    });
  }
  if (message === 'Keepalive timeout') {
    return new EdgeError('BROKER_LOST', `connection to broker ${broker} lost: it no longer answers pings`, {
      ...options,
      hint: 'The link or the broker hangs; it is tried again.',
    });
  }
  if (isTls(code, message)) {
    return new EdgeError('BROKER_TLS', `no TLS connection to broker ${broker}: ${code ?? 'handshake failed'}`, {
      ...options,
      hint: 'Check ca (the authority that signed the broker), the host name in its certificate, cert and key, and the clock.',
    });
  }
  if (connected) {
    return new EdgeError(
      'BROKER_LOST',
      `connection to broker ${broker} lost${code === undefined ? '' : ` (${code})`}`,
      {
        ...options,
        // Mosquitto 2.0 takes a client id over without a word.
        hint: 'It is tried again; alerts wait. If it happens again and again: does another client use the same client id?',
      },
    );
  }
  const why = code === undefined ? 'the connection was closed at once' : (UNREACHABLE[code] ?? code);
  return new EdgeError('BROKER_UNREACHABLE', `broker ${broker} cannot be reached: ${why}`, {
    ...options,
    hint: 'Check the host, the port and the network; it is tried again, alerts wait.',
  });
}

function isTls(code: string | undefined, message: string): boolean {
  return (
    message === 'TLS not authorized' ||
    (code !== undefined &&
      (/^ERR_(SSL|TLS|OSSL)_/.test(code) ||
        /CERT|SELF_SIGNED|UNABLE_TO_|CRL_/.test(code) ||
        code === 'EPROTO' ||
        code === 'HOSTNAME_MISMATCH'))
  );
}
