{
  "targets": [
    {
      "target_name": "irst_edge",
      "sources": [
        "src/addon.cc",
        "src/faint_binding.cc",
        "src/faint_filter.cc",
        "src/file_pages.cc",
        "src/old_libc.cc",
        "src/system_error.cc",
        "src/sd_notify.cc",
        "src/v4l2_binding.cc",
        "src/v4l2_device.cc",
        "src/v4l2_fake_io.cc",
        "src/v4l2_stream.cc",
        "src/v4l2_system_io.cc",
      ],
      "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
      "defines": [
        "NAPI_VERSION=8",
        # An external ArrayBuffer is refused by some V8 builds; make using one a compile error.
        "NODE_API_NO_EXTERNAL_BUFFERS_ALLOWED",
        "IRST_EDGE_VERSION=\"<!(node -p \"require('../package.json').version\")\"",
      ],
      # Node's own common.gypi asks for an older standard on Node 20 and a newer one later; ours comes last and wins.
      # No contraction: faint_filter.cc gives the numbers that JavaScript gives, on every processor.
      "cflags_cc": ["-std=c++17", "-Wall", "-Wextra", "-fvisibility=hidden", "-ffp-contract=off"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
    }
  ]
}
