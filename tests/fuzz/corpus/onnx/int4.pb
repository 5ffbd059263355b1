*˜ºÜþ2TB
INT4_typed