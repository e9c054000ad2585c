"""LoRA-VecDB in LanceDB: representations and their exact search. No lake row is read here."""
