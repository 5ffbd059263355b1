#pragma once
#include <cstdint>

#include "tandem/core/export.h"

namespace tandem {

class Recorder;  // a graph under construction, op/recorder.h

/// A switch of an object that code under capture may use: a module's training mode. Whoever depends
/// on it keeps it, and sees when its owner is gone or was replaced.
struct OwnedSwitch {
  bool on = true;
  bool owned = true;
  const Recorder* made_in = nullptr;  ///< what was recording when it was made
};

/// Thread-local switches; zero is the usual case, so one test covers all of them.
struct Modes {
  enum Bit : uint32_t {
    no_grad = 1,
    anomaly = 2,
    capture = 4,        ///< every op goes into `capturing`, whatever its inputs are
    stop_gradient = 8,  ///< beside no_grad: a NoGrad of code, not a pass of the tape through ops
    off_tape = no_grad | stop_gradient
  };
};

namespace detail {
extern TANDEM_API constinit thread_local uint32_t modes __attribute__((tls_model("initial-exec")));
extern TANDEM_API constinit thread_local Recorder* capturing
    __attribute__((tls_model("initial-exec")));
}  // namespace detail
}  // namespace tandem
