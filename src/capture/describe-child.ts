// The process of `describeApart`: one JSON object on stdout.
import { toPlainError } from '../types/errors.js';
import type { DescribeAnswer } from './describe-apart.js';
import { describeDevice } from './device.js';

function answer(device: string): DescribeAnswer {
  try {
    return { description: describeDevice(device) };
  } catch (error) {
    return { error: toPlainError(error) };
  }
}

process.stdout.write(JSON.stringify(answer(process.argv[2] ?? '')));
