#pragma once
#include <string_view>

#include "tandem/core/export.h"

namespace tandem {

enum class LogLevel { warning, info };

/// Receives what the library has to say. `text` has no line end and lives until the call returns.
/// Called from any thread.
using LogSink = void (*)(LogLevel level, std::string_view text, void* user);

/// Where messages go; null, as in the beginning, for nowhere. With TANDEM_LOG=1 in the environment
/// they go to standard error until this is called.
TANDEM_API void set_log_sink(LogSink sink, void* user = nullptr);
/// Writes "tandem: warning: ..." lines to standard error: a sink for programs that have no log.
TANDEM_API void log_to_stderr(LogLevel level, std::string_view text, void* user);

namespace detail {
/// False when nobody listens.
TANDEM_API bool log(LogLevel level, std::string_view text);
}  // namespace detail

}  // namespace tandem
