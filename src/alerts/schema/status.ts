import { z } from 'zod';
import { cameraFields, clipped } from './camera.js';
import { isoTime, name, software, time } from './common.js';

const camera = z
  .strictObject({ id: name('Name of the camera, as in its topic.'), ...cameraFields })
  .meta({ description: 'One camera.' });

export const statusSchema = z
  .strictObject({
    schema: z.literal('irst-edge/status/1').meta({ description: 'Kind and version of this message.' }),
    device: name('Name of the device, as in the topic.'),
    state: z.enum(['online', 'stopped', 'offline']).meta({
      description: "'stopped': ended in good order; 'offline': the broker lost the device (Last Will).",
    }),
    at: time(
      "Wall clock when the device wrote this, ISO 8601, UTC, ms. Absent when state is 'offline': the broker sends " +
        'that one, written when the connection was made.',
    ).optional(),
    software,
    cameras: z.array(camera).meta({ description: "The device's cameras." }).optional(),
  })
  .meta({
    title: 'irst-edge status',
    description: 'State of a device. Topic irst/<device>/status, retained, QoS 1; also the Last Will.',
  });

export type StatusMessage = z.infer<typeof statusSchema>;
export type CameraStatus = z.infer<typeof camera>;

export interface StatusInput {
  device: string;
  state: StatusMessage['state'];
  /** Wall clock, ms since 1970. Leave out for the will. */
  atMs?: number;
  /** Version of irst-edge. */
  software: string;
  cameras?: readonly CameraStatus[];
}

/** The device's status. Pure. */
export function statusMessage(input: StatusInput): StatusMessage {
  return {
    schema: 'irst-edge/status/1',
    device: input.device,
    state: input.state,
    ...(input.atMs === undefined ? {} : { at: isoTime(input.atMs) }),
    software: input.software,
    ...(input.cameras === undefined ? {} : { cameras: input.cameras.map(clipped) }),
  };
}
