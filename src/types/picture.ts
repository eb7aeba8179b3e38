/** A part of a frame: counts as the camera gave them. Plain data. */
export interface Crop {
  /** Column and row of its first pixel in the frame, px. */
  x: number;
  y: number;
  width: number;
  height: number;
  /** `width * height` counts, row by row; 8 bits a count, or up to 16. */
  data: Uint8Array | Uint16Array;
}

/** A whole frame made small, as a PNG file. Plain data. */
export interface FramePicture {
  sequence: number;
  /** Wall clock at capture, ms since 1970. */
  capturedAtMs: number;
  width: number;
  height: number;
  /** Bits of a sample. */
  bits: 8 | 16;
  /** Each pixel is the mean of so many of the frame's, each way. */
  scale: number;
  /** Counts shown as 0 and 255, where it was stretched to 8 bits. */
  black?: number;
  white?: number;
  png: Uint8Array;
}

export interface FramePictureOptions {
  /** Longest side, px. */
  maxSide: number;
  /** 8: stretched where the counts have more. 16: counts as they are. */
  bits: 8 | 16;
  /** Largest PNG, bytes: a picture that is larger is made smaller. */
  maxBytes: number;
}
