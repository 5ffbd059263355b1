#pragma once

/// TANDEM_TEST_SANITIZER is 1 in a build with the address or the thread sanitizer; both own malloc
/// and make a program some ten times slower. g++ and clang say it in different ways.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TANDEM_TEST_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TANDEM_TEST_SANITIZER 1
#endif
#endif
#ifndef TANDEM_TEST_SANITIZER
#define TANDEM_TEST_SANITIZER 0
#endif
