#pragma once
#include "tandem/core/export.h"

namespace tandem {

/// Threads that one op may use: the last `set_num_threads`, else TANDEM_NUM_THREADS, else
/// OMP_NUM_THREADS, else the physical cores this process may run on. Safe from any thread.
TANDEM_API int num_threads();
/// Binds every later op, oneDNN's included, to `n` threads; n < 1 returns to the default.
TANDEM_API void set_num_threads(int n);

/// While it lives, ops of this thread run on this thread alone: for threads of a program that are
/// many by themselves, such as those of a DataLoader.
class TANDEM_API SingleThread {
 public:
  SingleThread();
  ~SingleThread();
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;

 private:
  bool before_;
};

}  // namespace tandem
