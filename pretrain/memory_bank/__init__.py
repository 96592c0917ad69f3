"""The memory bank: one unit vector for each training image, on one process or shared by many."""
