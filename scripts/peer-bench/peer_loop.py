"""The obvious alternative: one Python loop with OpenCV, onnxruntime, numpy and paho-mqtt.

Reads the pictures of a folder again and again, normalises as the network was trained, runs it, takes the local maxima of the heat map
with a parabola through each, and publishes one JSON message for each frame with a detection. It has no tracks, no events, no
fit with error bars, no outbox, no watch over the sensor and no restart: it does less than irst-edge does with the same frame.
"""
import argparse
import datetime
import json
import pathlib
import time

import cv2
import numpy as np
import onnxruntime as ort
import paho.mqtt.client as mqtt


def normalise(frame: np.ndarray, n: dict) -> tuple[np.ndarray, float, float]:
    """The arithmetic of models/training/irst_edge_training/normalise.py."""
    values = frame.astype(np.float32)
    median = float(np.median(values))
    mad = float(np.median(np.abs(values - median)))
    scale = max(n["madToSigma"] * mad, n["stdShare"] * float(values.std()), n["minScale"])
    return np.clip((values - median) / scale, n["zMin"], n["zMax"]), median, scale


def peaks(heat: np.ndarray, logsig: np.ndarray, z: np.ndarray, threshold: float, stride: int) -> list[dict]:
    """Local maxima above the threshold, each moved to the vertex of the parabola along both axes; px."""
    top = cv2.dilate(heat, np.ones((3, 3), np.uint8))
    found = []
    for v, u in np.argwhere((heat >= threshold) & (heat == top)):
        def vertex(before: float, here: float, after: float) -> float:
            bend = before - 2 * here + after
            return 0.5 * (before - after) / bend if bend < 0 else 0.0

        here = heat[v, u]
        du = vertex(heat[v, u - 1], here, heat[v, u + 1]) if 0 < u < heat.shape[1] - 1 else 0.0
        dv = vertex(heat[v - 1, u], here, heat[v + 1, u]) if 0 < v < heat.shape[0] - 1 else 0.0
        sigma = stride * float(np.exp(logsig[v, u]))
        x, y = stride * (u + du) + (stride - 1) / 2, stride * (v + dv) + (stride - 1) / 2
        contrast = float(z[min(int(round(y)), z.shape[0] - 1), min(int(round(x)), z.shape[1] - 1)])
        found.append(
            {"x": float(x), "y": float(y), "sigmaX": sigma, "sigmaY": sigma, "score": float(here), "snr": contrast, "extent": sigma}
        )
    return sorted(found, key=lambda d: -d["score"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--frames", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--no-spinning", action="store_true", help="threads of the inference wait asleep, as irst-edge has them")
    parser.add_argument("--block", type=int, help="the build of the network with so many channels a block, which irst-edge runs on a CPU")
    parser.add_argument("--fps", type=float, help="pace, Hz; default: as fast as it goes")
    args = parser.parse_args()

    manifest_path = pathlib.Path(args.manifest)
    manifest = json.loads(manifest_path.read_text())
    files = sorted(pathlib.Path(args.frames).glob("*.png"))
    height, width = cv2.imread(str(files[0]), cv2.IMREAD_UNCHANGED).shape[:2]
    blocked = [f for f in manifest["blocked"] if f["block"] == args.block]
    model = (blocked or [f for f in manifest["files"] if (f["width"], f["height"], f["precision"]) == (width, height, "fp32")])[0]
    options = ort.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    if args.no_spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(manifest_path.parent / model["file"]), options, providers=["CPUExecutionProvider"])

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="peer", protocol=mqtt.MQTTv5)
    client.connect("127.0.0.1", args.port)
    client.loop_start()

    start = time.monotonic_ns()
    sequence = -1
    while True:
        sequence += 1
        if args.fps is not None:
            # The newest frame that is due; what is late is skipped.
            now = time.monotonic_ns()
            sequence = max(sequence, int((now - start) * args.fps / 1e9))
            due = start + int(sequence * 1e9 / args.fps)
            if due > now:
                time.sleep((due - now) / 1e9)
        frame = cv2.imread(str(files[sequence % len(files)]), cv2.IMREAD_UNCHANGED)
        captured = due if args.fps is not None else time.monotonic_ns()
        captured_at = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        began = time.perf_counter()
        z, _, _ = normalise(frame, manifest["input"]["normalisation"])
        normalised = time.perf_counter()
        heat, logsig = session.run(["heat", "logsig"], {"image": z[None, None]})
        inferred = time.perf_counter()
        detections = peaks(heat[0, 0], logsig[0, 0], z, manifest["decode"]["threshold"], manifest["output"]["stride"])
        if not detections:
            continue
        decoded = time.perf_counter()
        message = {
            "schema": "irst-edge/detections/1",
            "device": "peer",
            "camera": "cam0",
            "sequence": sequence,
            "capturedAt": captured_at,
            "captureMonotonicNs": str(captured),
            "image": {"width": width, "height": height},
            "detections": detections,
            "model": {"name": manifest["name"], "sha256": model["sha256"], "precision": "fp32"},
            "provider": "cpu",
            "software": "peer",
            "latencyMs": {
                "normalise": 1000 * (normalised - began),
                "infer": 1000 * (inferred - normalised),
                "decode": 1000 * (decoded - inferred),
                "total": (time.monotonic_ns() - captured) / 1e6,
            },
        }
        client.publish(args.topic, json.dumps(message), qos=1)


main()
