#pragma once

/// Marks a public symbol of the library. Everything else has hidden visibility, so that two
/// programs' worth of internals can live in one process. One definition serves the shared and the
/// static library: in a static one the mark only says that the symbol is public.
#if defined(_WIN32)
#if defined(TANDEM_STATIC)
#define TANDEM_API
#elif defined(TANDEM_BUILDING)
#define TANDEM_API __declspec(dllexport)
#else
#define TANDEM_API __declspec(dllimport)
#endif
#else
#define TANDEM_API __attribute__((visibility("default")))
#endif
