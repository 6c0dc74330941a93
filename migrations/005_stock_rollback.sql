-- Rollback: 005_stock
-- Description: Removes the stock
-- Author: Mira Olsen
-- Date: 2025-03-18

DROP TABLE shop.stock;
