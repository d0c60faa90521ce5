"""A cluster of three database members, two hub nodes and a front: broken on purpose, judged from outside."""
