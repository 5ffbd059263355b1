#include "tandem/core/log.h"

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>

#include "tandem/core/text.h"

namespace tandem {
namespace {

struct Log {
  std::mutex mutex;
  LogSink sink = nullptr;
  void* user = nullptr;
};
Log& the_log() {
  static Log& log = [&]() -> Log& {
    auto* made = new Log;  // for messages of static objects
    const char* wish = std::getenv("TANDEM_LOG");
    if (wish && *wish && std::string_view(wish) != "0") made->sink = log_to_stderr;
    return *made;
  }();
  return log;
}

}  // namespace

void set_log_sink(LogSink sink, void* user) {
  const std::lock_guard lock(the_log().mutex);
  the_log().sink = sink;
  the_log().user = user;
}

void log_to_stderr(LogLevel level, std::string_view text, void*) {
  const std::string line =
      cat("tandem: ", level == LogLevel::warning ? "warning: " : "", text, "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);
}

bool detail::log(LogLevel level, std::string_view text) {
  LogSink sink;
  void* user;
  {
    const std::lock_guard lock(the_log().mutex);
    sink = the_log().sink;
    user = the_log().user;
  }
  if (sink) sink(level, text, user);
  return sink != nullptr;
}

}  // namespace tandem
