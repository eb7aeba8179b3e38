import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** Makes certificates with openssl in a folder: `NAME.crt` and `NAME.key`, PEM. */
export class Certificates {
  constructor(readonly folder: string) {}

  private async openssl(...args: string[]): Promise<void> {
    await promisify(execFile)('openssl', args, { cwd: this.folder });
  }

  /** An authority, valid for two days. */
  async authority(name: string): Promise<void> {
    const files = ['-keyout', `${name}.key`, '-out', `${name}.crt`];
    await this.openssl('req', '-x509', ...KEY, ...files, '-days', '2', '-subj', `/CN=${name}`);
  }

  /** A certificate for localhost and 127.0.0.1 by an authority made before; negative `days` make it one that has ended. */
  async signed(name: string, authority: string, { subject = name, days = 2 } = {}): Promise<void> {
    await writeFile(join(this.folder, 'san'), 'subjectAltName=DNS:localhost,IP:127.0.0.1');
    await this.openssl('req', ...KEY, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${subject}`);
    const by = ['-CA', `${authority}.crt`, '-CAkey', `${authority}.key`, '-CAcreateserial'];
    const how = ['-days', String(days), '-extfile', 'san'];
    await this.openssl('x509', '-req', '-in', `${name}.csr`, '-out', `${name}.crt`, ...by, ...how);
  }
}
